//! The connection: how it is opened, and how a batch of jobs becomes one transaction.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::engine::{Access, Failure, Job};
use super::{Absent, OpenError, Options, schema};

/// Between two tries for the write lock. `SQLite`'s own handler waits up to 100 ms, which starves
/// a process beside a busy one.
const LOCK_RETRY: Duration = Duration::from_millis(1);
/// Pages in the write-ahead log before a commit moves them into the file: 16 MiB. Messages live
/// briefly, so that a longer log writes many pages to the file once instead of often.
const CHECKPOINT_PAGES: i64 = 4_000;
/// Page cache in KiB: what a turn touches. `SQLite` walks all of a larger one at many commits.
const CACHE_KIB: i64 = 4_096;
/// Statements kept prepared.
const STATEMENTS: usize = 64;

/// The file and, while there is one, the connection to it.
pub(super) struct Database {
    path: PathBuf,
    busy_timeout: Duration,
    connection: Option<Connection>,
}

impl Database {
    /// Opens the file, and creates what the options ask for.
    pub(super) fn open(path: PathBuf, options: &Options) -> Result<Self, OpenError> {
        let unavailable = |path: &Path, source: rusqlite::Error| OpenError::Unavailable {
            path: path.to_owned(),
            source: Box::new(source),
        };
        let mut connection = connect(&path, options.absent, options.busy_timeout)
            .map_err(|source| unavailable(&path, source))?;
        let found = schema::provision(&mut connection, &options.routes)
            .map_err(|source| unavailable(&path, source))?;
        if found > schema::VERSION {
            return Err(OpenError::Newer { path, found, known: schema::VERSION });
        }
        Ok(Self { path, busy_timeout: options.busy_timeout, connection: Some(connection) })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets go of the file; the next job opens it again.
    pub(super) fn close(&mut self) {
        self.connection = None;
    }

    /// Runs the jobs in one transaction.
    pub(super) fn run(&mut self, access: Access, jobs: &mut [Box<dyn Job>]) -> Result<(), Failure> {
        let outcome = self.transact(access, jobs);
        if let Err(failure) = &outcome
            && !failure.is_busy()
        {
            // After a full disk or an I/O error a fresh connection is the surest way back.
            self.connection = None;
        }
        outcome
    }

    fn transact(&mut self, access: Access, jobs: &mut [Box<dyn Job>]) -> Result<(), Failure> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.path, Absent::Refuse, self.busy_timeout)?,
        };
        let connection = self.connection.insert(connection);
        let outcome = match access {
            Access::Read => read(connection, jobs),
            Access::Write => write(connection, jobs),
        };
        if !connection.is_autocommit() {
            execute(connection, "ROLLBACK")?;
        }
        outcome
    }
}

/// All reads see one snapshot. One that fails by itself has its own answer.
fn read(connection: &Connection, jobs: &mut [Box<dyn Job>]) -> Result<(), Failure> {
    execute(connection, "BEGIN DEFERRED")?;
    for job in jobs {
        match job.run(connection) {
            Err(failure) if failure.is_outage() => return Err(failure),
            Err(_) | Ok(()) => {}
        }
    }
    execute(connection, "COMMIT")
}

/// All writes in one transaction, without savepoints, which are not free. Where one of them fails
/// by itself, all run again, each in its own savepoint.
fn write(connection: &Connection, jobs: &mut [Box<dyn Job>]) -> Result<(), Failure> {
    execute(connection, "BEGIN IMMEDIATE")?;
    for job in jobs.iter_mut() {
        match job.run(connection) {
            Ok(()) => {}
            Err(failure) if failure.is_outage() => return Err(failure),
            Err(_) => {
                execute(connection, "ROLLBACK")?;
                return write_apart(connection, jobs);
            }
        }
    }
    execute(connection, "COMMIT")
}

fn write_apart(connection: &Connection, jobs: &mut [Box<dyn Job>]) -> Result<(), Failure> {
    execute(connection, "BEGIN IMMEDIATE")?;
    for job in jobs {
        execute(connection, "SAVEPOINT job")?;
        match job.run(connection) {
            Ok(()) => {}
            Err(failure) if failure.is_outage() => return Err(failure),
            Err(_) => execute(connection, "ROLLBACK TO job")?,
        }
        execute(connection, "RELEASE job")?;
    }
    execute(connection, "COMMIT")
}

fn execute(connection: &Connection, sql: &str) -> Result<(), Failure> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

fn connect(path: &Path, absent: Absent, busy_timeout: Duration) -> rusqlite::Result<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if absent == Absent::Create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_handler(Some(move |tries: i32| wait_for_lock(tries, busy_timeout)))?;
    // While another process creates the file this answers "busy" without asking the handler.
    let mut tries = 0;
    while let Err(error) = connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())) {
        if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) || !wait_for_lock(tries, busy_timeout) {
            return Err(error);
        }
        tries += 1;
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    // Or statements with a bound limit of an index are planned again each time they are run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Waits a moment for the lock; false once the patience is used up.
fn wait_for_lock(tries: i32, busy_timeout: Duration) -> bool {
    let waited = LOCK_RETRY.saturating_mul(u32::try_from(tries).unwrap_or_default());
    if waited >= busy_timeout {
        return false;
    }
    std::thread::sleep(LOCK_RETRY);
    true
}

#[cfg(test)]
mod tests {
    use super::super::testing::{an_hour_later, number, process, publish, raw};
    use super::super::{FILE_NAME, Route, open};
    use super::*;
    use ecom_domain::order::OrderId;
    use ecom_store::{FactStore, StoreError};

    #[test]
    fn nothing_is_created_where_that_was_not_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("data");
        let error = open(&absent, Options::existing()).unwrap_err();
        assert!(matches!(error, OpenError::Missing { .. }), "{error}");
        assert!(error.to_string().ends_with("data/ecom_store.db"), "{error}");
        assert!(!absent.exists());
    }

    #[test]
    fn whoever_comes_first_creates_the_file_and_nobody_fails() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let routes = vec![Route::new("a", "a-sub"), Route::new("b", "b-sub")];
        std::thread::scope(|scope| {
            let opened: Vec<_> =
                (0..8).map(|_| scope.spawn(|| open(&data, Options::new(routes.clone())))).collect();
            for process in opened {
                process.join().unwrap().unwrap();
            }
        });
        assert_eq!(number(&data, "SELECT count(*) FROM subscriptions"), 2);
    }

    #[test]
    fn a_file_of_a_later_version_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        drop(process(dir.path()));
        raw(dir.path()).pragma_update(None, "user_version", 99).unwrap();
        let error = open(dir.path(), Options::existing()).unwrap_err();
        assert!(matches!(error, OpenError::Newer { found: 99, known: schema::VERSION, .. }), "{error}");
    }

    #[test]
    fn a_file_that_is_no_database_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), "order_id,item\n".repeat(100)).unwrap();
        let error = open(dir.path(), Options::existing()).unwrap_err();
        assert!(error.to_string().contains(FILE_NAME), "{error}");
    }

    #[tokio::test]
    async fn a_job_that_fails_by_itself_does_not_fail_its_neighbours() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        let insert = |id: i64| {
            move |connection: &Connection| {
                connection.execute("INSERT INTO facts (order_id) VALUES (?1)", [id])
            }
        };
        let first = process.engine.submit(Access::Write, insert(1), None).await;
        let half = |connection: &Connection| {
            connection.execute("INSERT INTO facts (order_id) VALUES (2)", [])?;
            connection.execute("INSERT INTO nowhere VALUES (1)", [])
        };
        let bad = process.engine.submit(Access::Write, half, None).await;
        let last = process.engine.submit(Access::Write, insert(3), None).await;
        first.wait().await.unwrap();
        assert!(!bad.wait().await.unwrap_err().is_outage());
        last.wait().await.unwrap();
        assert_eq!(number(dir.path(), "SELECT group_concat(order_id) = '1,3' FROM facts"), 1);
    }

    #[tokio::test]
    async fn a_writer_that_does_not_let_go_is_an_outage_and_reads_go_on() {
        let dir = tempfile::tempdir().unwrap();
        drop(process(dir.path()));
        let options = Options { busy_timeout: Duration::from_millis(20), ..Options::existing() };
        let process = open(dir.path(), options).unwrap();
        let stopped = raw(dir.path());
        stopped.execute_batch("BEGIN IMMEDIATE").unwrap();
        let write = process.engine.write(|connection| connection.execute("DELETE FROM facts", [])).await;
        let error = process.store_error("record an order", write.unwrap_err());
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        let file = dir.path().join(FILE_NAME);
        let text = format!("could not record an order on embedded at {}: database is locked", file.display());
        assert_eq!(error.to_string(), text);
        assert!(process.fact(OrderId(1)).await.unwrap().is_none());
        assert!(open(dir.path(), Options::existing()).is_ok(), "a operator can still look");
        stopped.execute_batch("COMMIT").unwrap();
        process.engine.write(|connection| connection.execute("DELETE FROM facts", [])).await.unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_is_an_outage_that_passes() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        let pages = |count: i64| {
            move |connection: &Connection| {
                connection.query_row(&format!("PRAGMA max_page_count = {count}"), [], |_| Ok(()))
            }
        };
        let fill = |connection: &Connection| {
            connection.execute("INSERT INTO dead_letter_bodies VALUES ('x', '{}', zeroblob(1000000))", [])
        };
        process.engine.read(pages(1)).await.unwrap();
        let failure = process.engine.write(fill).await.unwrap_err();
        assert!(failure.is_outage(), "{failure}");
        // The connection was made anew, without the limit.
        process.engine.write(fill).await.unwrap();
    }

    #[tokio::test]
    async fn closing_lets_go_of_the_file_until_it_is_needed_again() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        publish(&process, 3).await;
        process.close().await;
        assert!(!dir.path().join(format!("{FILE_NAME}-wal")).exists());
        publish(&process, 3).await;
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages"), 6);
    }

    #[tokio::test]
    async fn it_is_described_by_its_absolute_path() {
        let dir = tempfile::tempdir().unwrap();
        let process = an_hour_later(dir.path());
        assert_eq!(process.describe(), format!("embedded at {}", dir.path().join(FILE_NAME).display()));
    }
}
