//! The embedded file, read and changed with plain SQL while the programs run.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::program::{ProgramOutput, TestDir, eventually};

/// Runs a consumer until it has acked all messages of its topic, and drains it.
pub async fn consume(dir: &TestDir, role: &'static str, args: &[&str]) -> ProgramOutput {
    let topic = match role {
        "order_consumer" => "orders_data",
        "payment_consumer" => "payments_data",
        _ => "dlq_payments_data",
    };
    let table = Table::of(dir).await;
    let mut consumer = dir.start(role, args);
    consumer.says("using ").await;
    eventually("its topic is empty", async || (table.backlog(topic) == 0).then_some(())).await;
    consumer.drained().await.with(0)
}

/// A connection to the file that the programs use.
pub struct Table(Connection);

impl Table {
    /// Opens the file of the default folder once it exists.
    pub async fn of(dir: &TestDir) -> Self {
        Self::in_folder(&dir.path("data")).await
    }

    /// Opens the file of a folder once it exists with its tables.
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

    /// Returns the number that a query selects.
    pub fn number(&self, sql: &str) -> i64 {
        self.0.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Returns all rows of a query, each read by `read`.
    pub fn rows<T>(&self, sql: &str, read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
        let mut statement = self.0.prepare(sql).unwrap();
        statement.query_map([], read).unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// Runs statements.
    pub fn execute(&self, sql: &str) {
        self.0.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Returns the number of rows of the fact table.
    pub fn facts(&self) -> i64 {
        self.number("SELECT count(*) FROM orders_payments_facts")
    }

    /// Returns the number of leased messages of a topic, including those of a killed consumer.
    pub fn leased(&self, topic: &str) -> i64 {
        self.number(&format!(
            "SELECT count(*) FROM messages JOIN subscriptions ON subscriptions.id = subscription
             JOIN topics ON topics.id = subscriptions.topic WHERE topics.name = '{topic}' AND due > 0"
        ))
    }

    /// Returns the number of recorded orders, payments and dead letters.
    pub fn progress(&self) -> i64 {
        self.number(
            "SELECT (SELECT count(*) + count(payment_id) FROM facts) + (SELECT count(*) FROM dead_letters)",
        )
    }

    /// Returns the number of messages published so far, on any topic.
    pub fn published(&self) -> i64 {
        self.number("SELECT coalesce(sum(last_message), 0) FROM topics")
    }

    /// Returns the number of dead letters in the dead-letter store.
    pub fn dead_letters(&self) -> i64 {
        self.number("SELECT count(*) FROM dead_letters")
    }

    /// Returns the number of unacked messages of a topic.
    pub fn backlog(&self, topic: &str) -> i64 {
        self.number(&format!(
            "SELECT count(*) FROM messages JOIN subscriptions ON subscriptions.id = subscription
             JOIN topics ON topics.id = subscriptions.topic WHERE topics.name = '{topic}'"
        ))
    }

    /// Waits until every message of every topic is acked.
    pub async fn is_drained(&self) {
        eventually("every message is acked", async || {
            (self.number("SELECT count(*) FROM messages") == 0).then_some(())
        })
        .await;
    }

    /// Blocks all writers by taking the file's write lock until the guard is dropped.
    pub fn block_writers(&self) -> BlockedWriters<'_> {
        self.execute("BEGIN IMMEDIATE");
        BlockedWriters(self)
    }
}

/// The file's write lock.
pub struct BlockedWriters<'t>(&'t Table);

impl Drop for BlockedWriters<'_> {
    fn drop(&mut self) {
        self.0.0.execute_batch("ROLLBACK").ok();
    }
}
