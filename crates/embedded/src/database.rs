//! The connection to the file: opens it, and runs a batch of jobs in one transaction.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};

use super::file_identity::FileIdentity;
use super::job::{EngineError, Job, TransactionKind};
use super::open_error::OpenError;
use super::options::{Absent, Options};
use super::schema;

/// The wait between two attempts to take the write lock. `SQLite`'s own handler waits up to 100 ms, which
/// starves a process next to a busy one.
const LOCK_RETRY: Duration = Duration::from_millis(1);
/// The number of pages in the write-ahead log before a commit copies them into the file: 16 MiB. Messages
/// are short-lived, so with a long log most of their pages are copied once instead of often.
const CHECKPOINT_PAGES: i64 = 4_000;
/// The page cache, in KiB: the pages that one transaction touches. `SQLite` walks the whole cache at many
/// commits, so a larger one is slower.
const CACHE_KIB: i64 = 4_096;
/// The number of statements kept prepared.
const STATEMENTS: usize = 128;

/// The file and the connection to it; reconnects after an error.
pub(super) struct Database {
    path: PathBuf,
    /// The file that was opened first; another file at its path is another store.
    identity: FileIdentity,
    busy_timeout: Duration,
    /// Set after a write that found no space.
    lacks_space: bool,
    connection: Option<Connection>,
}

impl Database {
    /// Opens the file, and creates what the options ask for. Fails where the file has another schema version
    /// or another version of an extension.
    pub(super) fn open(path: PathBuf, options: &Options) -> Result<Self, OpenError> {
        let mut connection = connect(&path, options.absent, options.busy_timeout)
            .map_err(|source| OpenError::of(&path, source))?;
        let identity = FileIdentity::of(&path)
            .map_err(|source| OpenError::Unavailable { path: path.clone(), source: Box::new(source) })?;
        schema::provision(&mut connection, options)
            .map_err(|source| OpenError::of_provision(&path, source))?;
        Ok(Self {
            path,
            identity,
            busy_timeout: options.busy_timeout,
            lacks_space: false,
            connection: Some(connection),
        })
    }

    /// Returns the path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the connection; the next job opens it again.
    pub(super) fn close(&mut self) {
        self.connection = None;
    }

    /// Runs the jobs in one transaction, and fails where its file has been moved, deleted or replaced since.
    pub(super) fn run(
        &mut self,
        kind: TransactionKind,
        jobs: &mut [Box<dyn Job>],
    ) -> Result<(), EngineError> {
        // Errors of a file that is gone are errors of its absence.
        let outcome = self.transact(kind, jobs);
        let outcome = self.verify_identity().and(outcome);
        if let Err(error) = &outcome
            && !error.is_busy()
        {
            // After a full disk or an I/O error, a new connection is the safest way to recover.
            self.connection = None;
            self.lacks_space |= error.is_out_of_space();
        }
        outcome
    }

    fn verify_identity(&self) -> Result<(), EngineError> {
        if self.identity.is_at(&self.path) {
            return Ok(());
        }
        Err(EngineError::Replaced(self.path.as_path().into()))
    }

    fn transact(&mut self, kind: TransactionKind, jobs: &mut [Box<dyn Job>]) -> Result<(), EngineError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.verify_identity()?;
                connect(&self.path, Absent::Refuse, self.busy_timeout)?
            }
        };
        let connection = self.connection.insert(connection);
        if kind == TransactionKind::Write && std::mem::take(&mut self.lacks_space) {
            make_room(connection);
        }
        let outcome = match kind {
            TransactionKind::Read => read(connection, jobs),
            TransactionKind::Write => write(connection, jobs),
        };
        if !connection.is_autocommit() {
            execute(connection, "ROLLBACK")?;
        }
        outcome
    }
}

/// Runs reads on one snapshot. A read that fails by itself does not affect the others.
fn read(connection: &Connection, jobs: &mut [Box<dyn Job>]) -> Result<(), EngineError> {
    execute(connection, "BEGIN DEFERRED")?;
    for job in jobs {
        match job.run(connection) {
            Err(error) if error.is_outage() => return Err(error),
            Err(_) | Ok(()) => {}
        }
    }
    execute(connection, "COMMIT")
}

/// Runs writes in one transaction, without savepoints, which cost time. Where a write fails by itself, all run
/// again, each in a savepoint.
fn write(connection: &Connection, jobs: &mut [Box<dyn Job>]) -> Result<(), EngineError> {
    execute(connection, "BEGIN IMMEDIATE")?;
    for job in jobs.iter_mut() {
        match job.run(connection) {
            Ok(()) => {}
            Err(error) if error.is_outage() => return Err(error),
            Err(_) => {
                execute(connection, "ROLLBACK")?;
                return write_with_savepoints(connection, jobs);
            }
        }
    }
    execute(connection, "COMMIT")
}

fn write_with_savepoints(connection: &Connection, jobs: &mut [Box<dyn Job>]) -> Result<(), EngineError> {
    execute(connection, "BEGIN IMMEDIATE")?;
    for job in jobs {
        execute(connection, "SAVEPOINT job")?;
        match job.run(connection) {
            Ok(()) => {}
            Err(error) if error.is_outage() => return Err(error),
            Err(_) => execute(connection, "ROLLBACK TO job")?,
        }
        execute(connection, "RELEASE job")?;
    }
    execute(connection, "COMMIT")
}

/// Moves the write-ahead log into the file and gives its space back, before the next transaction takes the
/// space that has become free. The log has every version of a page, and the file one. Otherwise a log that
/// cannot grow would stop every process until one of them is alone.
fn make_room(connection: &Connection) {
    // Where this fails, too, the next failed transaction tries again.
    drop(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
}

fn execute(connection: &Connection, sql: &str) -> Result<(), EngineError> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

fn connect(path: &Path, absent: Absent, busy_timeout: Duration) -> rusqlite::Result<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if absent == Absent::Create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let mut connection = Connection::open_with_flags(path, flags)?;
    // Without a handler: while another process creates the file, this fails as busy without calling one, and a
    // handler that waits as well would multiply the time limit.
    connection.busy_timeout(Duration::ZERO)?;
    let mut tries = 0;
    while let Err(error) = connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())) {
        if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) || !wait_for_lock(tries, busy_timeout) {
            return Err(error);
        }
        tries += 1;
    }
    if absent == Absent::Create {
        refuse_read_only(&connection)?;
    }
    connection.busy_handler(Some(move |tries: i32| wait_for_lock(tries, busy_timeout)))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    // Otherwise statements with a bound on an indexed column are planned again at every run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Fails where the file, or its log, may only be read: `SQLite` opens it all the same, for those who only read.
fn refuse_read_only(connection: &Connection) -> rusqlite::Result<()> {
    if connection.is_readonly(MAIN_DB)? {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY),
            None,
        ));
    }
    match connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK") {
        Err(error) if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Waits briefly for the lock; returns false after `busy_timeout`.
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
    fn nothing_is_created_unless_requested() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("data");
        let error = open(&absent, Options::existing()).unwrap_err();
        assert!(matches!(error, OpenError::Missing { .. }), "{error}");
        assert!(error.to_string().ends_with("data/ecom_store.db"), "{error}");
        assert!(!absent.exists());
    }

    #[test]
    fn of_concurrent_openers_one_creates_the_file_and_none_fails() {
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
    fn a_file_of_another_schema_version_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        drop(process(dir.path()));
        for version in [99, schema::VERSION - 1] {
            raw(dir.path()).pragma_update(None, "user_version", version).unwrap();
            for options in [Options::existing(), Options::new(vec![Route::new("a", "a-sub")])] {
                let error = open(dir.path(), options).unwrap_err();
                let OpenError::SchemaVersion { found, expected, .. } = error else { panic!("{error}") };
                assert_eq!((found, expected), (version, schema::VERSION));
                assert!(error.to_string().contains("move the file away"), "{error}");
            }
        }
        assert_eq!(number(dir.path(), "PRAGMA user_version"), schema::VERSION - 1);
    }

    #[test]
    fn a_file_that_is_not_a_database_is_named() {
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
        let first = process.engine.submit(TransactionKind::Write, insert(1)).await;
        let half = |connection: &Connection| {
            connection.execute("INSERT INTO facts (order_id) VALUES (2)", [])?;
            connection.execute("INSERT INTO nowhere VALUES (1)", [])
        };
        let bad = process.engine.submit(TransactionKind::Write, half).await;
        let last = process.engine.submit(TransactionKind::Write, insert(3)).await;
        first.wait().await.unwrap();
        assert!(!bad.wait().await.unwrap_err().is_outage());
        last.wait().await.unwrap();
        assert_eq!(number(dir.path(), "SELECT group_concat(order_id) = '1,3' FROM facts"), 1);
    }

    #[tokio::test]
    async fn a_writer_that_keeps_the_lock_is_an_outage_and_reads_continue() {
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
        assert!(open(dir.path(), Options::existing()).is_ok(), "read-only commands still open the file");
        stopped.execute_batch("COMMIT").unwrap();
        process.engine.write(|connection| connection.execute("DELETE FROM facts", [])).await.unwrap();
    }

    #[test]
    fn a_file_that_stays_locked_is_given_up_after_the_busy_timeout() {
        let dir = tempfile::tempdir().unwrap();
        let outside = raw(dir.path());
        outside.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let options = Options { busy_timeout: Duration::from_millis(200), ..Options::new(Vec::new()) };
        // With a wait within each wait, this took 20 s.
        let (opened, opening) = std::sync::mpsc::channel();
        let folder = dir.path().to_owned();
        std::thread::spawn(move || opened.send(open(&folder, options).map(drop)));
        let error = opening.recv_timeout(Duration::from_secs(10)).unwrap().unwrap_err();
        assert!(matches!(error, OpenError::Unavailable { .. }), "{error}");
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
        let error = process.engine.write(fill).await.unwrap_err();
        assert!(error.is_outage(), "{error}");
        // A new connection does not have the limit.
        process.engine.write(fill).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_was_moved_or_replaced_is_refused_for_reads_and_writes() {
        let dir = tempfile::tempdir().unwrap();
        let (file, moved) = (dir.path().join(FILE_NAME), dir.path().join("moved"));
        let (open_meanwhile, closed_meanwhile) = (process(dir.path()), process(dir.path()));
        publish(&open_meanwhile, 1).await;
        closed_meanwhile.close().await;
        std::fs::rename(&file, &moved).unwrap();
        for replaced in [false, true] {
            if replaced {
                std::fs::write(&file, "").unwrap();
            }
            for process in [&open_meanwhile, &closed_meanwhile] {
                let read = process.fact(OrderId(1)).await.unwrap_err();
                let write =
                    process.engine.write(|connection| connection.execute("DELETE FROM facts", [])).await;
                let write = process.store_error("record an order", write.unwrap_err());
                for error in [read, write] {
                    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
                    let text = error.to_string();
                    assert!(text.contains("ecom_store.db was moved, deleted or replaced"), "{text}");
                }
            }
        }
        assert_eq!(std::fs::read(&file).unwrap(), b"", "the other file is left alone");
    }

    #[tokio::test]
    async fn closing_releases_the_file_until_it_is_needed_again() {
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
