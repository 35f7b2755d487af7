//! The embedded file as anybody sees it who opens it: beside the running programs.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::program::{OperationReport, Site, eventually};

/// Runs a consumer until it has acknowledged all that waits on its topic, and drains it.
pub async fn consume(site: &Site, role: &'static str, args: &[&str]) -> OperationReport {
    let topic = match role {
        "order_consumer" => "orders_data",
        "payment_consumer" => "payments_data",
        _ => "dlq_payments_data",
    };
    let table = Table::of(site).await;
    let mut consumer = site.start(role, args);
    consumer.says("using ").await;
    eventually("its topic is empty", async || (table.backlog(topic) == 0).then_some(())).await;
    consumer.drained().await.with(0)
}

/// The file, opened beside the programs that use it.
pub struct Table(Connection);

impl Table {
    /// Opens the file of the default folder once it is there.
    pub async fn of(site: &Site) -> Self {
        Self::in_folder(&site.path("data")).await
    }

    /// Opens the file of a folder once it is there, with its tables.
    pub async fn in_folder(folder: &Path) -> Self {
        let file = folder.join(ecom_embedded::FILE_NAME);
        eventually("the embedded file appears", async || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&file, flags).ok()?;
            connection.busy_timeout(Duration::from_secs(30)).unwrap();
            connection.query_row("SELECT count(*) FROM subscriptions", [], |_| Ok(())).ok()?;
            Some(Self(connection))
        })
        .await
    }

    /// A number the file holds.
    pub fn number(&self, sql: &str) -> i64 {
        self.0.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// All rows of a query, each read by `read`.
    pub fn rows<T>(&self, sql: &str, read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
        let mut statement = self.0.prepare(sql).unwrap();
        statement.query_map([], read).unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// Runs statements.
    pub fn execute(&self, sql: &str) {
        self.0.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Rows of the fact table.
    pub fn facts(&self) -> i64 {
        self.number("SELECT count(*) FROM orders_payments_facts")
    }

    /// Deliveries that a consumer of this topic holds, or held when it was killed.
    pub fn leased(&self, topic: &str) -> i64 {
        self.number(&format!(
            "SELECT count(*) FROM messages JOIN subscriptions ON subscriptions.id = subscription
             JOIN topics ON topics.id = subscriptions.topic WHERE topics.name = '{topic}' AND due > 0"
        ))
    }

    /// What was done so far: orders and payments recorded, dead letters in the dead-letter store.
    pub fn progress(&self) -> i64 {
        self.number(
            "SELECT (SELECT count(*) + count(payment_id) FROM facts) + (SELECT count(*) FROM dead_letters)",
        )
    }

    /// Messages ever published, on any topic.
    pub fn published(&self) -> i64 {
        self.number("SELECT coalesce(sum(last_message), 0) FROM topics")
    }

    /// Dead letters in the dead-letter store.
    pub fn dead_letters(&self) -> i64 {
        self.number("SELECT count(*) FROM dead_letters")
    }

    /// Messages of a topic that are published and not acknowledged.
    pub fn backlog(&self, topic: &str) -> i64 {
        self.number(&format!(
            "SELECT count(*) FROM messages JOIN subscriptions ON subscriptions.id = subscription
             JOIN topics ON topics.id = subscriptions.topic WHERE topics.name = '{topic}'"
        ))
    }

    /// Waits until nothing published is unacknowledged, on any topic.
    pub async fn is_drained(&self) {
        eventually("every message is acknowledged", async || {
            (self.number("SELECT count(*) FROM messages") == 0).then_some(())
        })
        .await;
    }

    /// Stops all writers: takes the file's write lock until the guard is dropped.
    pub fn stop_writers(&self) -> StoppedWriters<'_> {
        self.execute("BEGIN IMMEDIATE");
        StoppedWriters(self)
    }
}

/// The file's write lock.
pub struct StoppedWriters<'t>(&'t Table);

impl Drop for StoppedWriters<'_> {
    fn drop(&mut self) {
        self.0.0.execute_batch("ROLLBACK").ok();
    }
}
