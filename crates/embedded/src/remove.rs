//! Deletes the file, unless a process has it open.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::embedded::FILE_NAME;

/// The longest wait for a process that is about to close the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// An error of deleting the file.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum RemoveError {
    /// Another process has the file open. Nothing was deleted.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be deleted.
    #[error("could not delete {}: {source}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

/// Deletes `ecom_store.db` in the folder `dir`, and its write-ahead log. Does nothing where there is none.
pub fn remove(dir: &Path) -> Result<(), RemoveError> {
    let path = dir.join(FILE_NAME);
    let mut lock = match exclusive(&path) {
        Ok(connection) => Some(connection),
        Err(error) if is_locked(&error) => return Err(RemoveError::InUse { path }),
        // There is no file, or it is not a database, which no process has open as one.
        Err(_) => None,
    };
    if cfg!(windows) {
        // An open file cannot be deleted there.
        lock = None;
    }
    for suffix in ["", "-wal", "-shm"] {
        let path = dir.join(format!("{FILE_NAME}{suffix}"));
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(RemoveError::Failed { path, source });
            }
            Ok(()) | Err(_) => {}
        }
    }
    drop(lock);
    Ok(())
}

/// Takes the file's exclusive lock. `SQLite` ends WAL mode only for the last process that has the file open.
fn exclusive(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    connection.execute_batch("BEGIN EXCLUSIVE")?;
    Ok(connection)
}

fn is_locked(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{number, process, publish};
    use super::*;

    #[tokio::test]
    async fn a_file_that_a_process_has_open_is_not_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        publish(&process, 3).await;
        let error = remove(dir.path()).unwrap_err();
        assert!(matches!(error, RemoveError::InUse { .. }), "{error}");
        publish(&process, 3).await;
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages"), 6);
        process.close().await;
        remove(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        remove(dir.path()).unwrap();
    }

    #[test]
    fn a_file_that_is_not_a_database_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), "order_id,item\n".repeat(100)).unwrap();
        remove(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
