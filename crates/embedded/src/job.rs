//! Jobs of the engine thread, and the error they fail with.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode};

/// The kind of transaction that a job needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TransactionKind {
    /// A read: takes no lock, and its result needs no sync to disk.
    Read,
    /// A write: runs after the write lock was taken.
    Write,
}

/// A unit of work for the engine thread.
pub(super) trait Job: Send {
    /// Does the work within a transaction. It is called again where that transaction was rolled back.
    fn run(&mut self, connection: &Connection) -> Result<(), EngineError>;
    /// Reports the result after the commit; `failed` is the error of the whole transaction.
    fn report(self: Box<Self>, failed: Option<&EngineError>);
}

/// The error of a job. The file is unchanged, except where the commit itself failed: then the result of the
/// transaction is unknown.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum EngineError {
    /// The error of `SQLite`, shared by all jobs of the transaction.
    #[error(transparent)]
    Sqlite(Arc<rusqlite::Error>),
    /// The path does not name the file that was opened: what is written to that file is lost.
    #[error(
        "{} was moved, deleted or replaced while this process had it open; start it again to use what is there \
         now",
        .0.display()
    )]
    Replaced(Arc<Path>),
    /// The engine thread has ended.
    #[error("the engine thread has ended")]
    Stopped,
}

impl EngineError {
    /// Returns whether a repetition may succeed.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Stopped => true,
            Self::Replaced(_) => false,
            Self::Sqlite(error) => error.sqlite_error_code().is_some_and(|code| match code {
                ErrorCode::OperationAborted
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
                | ErrorCode::OperationInterrupted
                | ErrorCode::SystemIoFailure
                | ErrorCode::DiskFull
                | ErrorCode::CannotOpen
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::SchemaChanged => true,
                // The fault is in the statement, its values or the file: a repetition fails again.
                _ => false,
            }),
        }
    }

    /// Returns whether another process holds the write lock, so that the connection itself is usable.
    pub(super) fn is_busy(&self) -> bool {
        match self {
            Self::Stopped | Self::Replaced(_) => false,
            Self::Sqlite(error) => error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy),
        }
    }

    /// Returns whether no job of this process can succeed any more.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::Replaced(_) => true,
            Self::Stopped => false,
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::ReadOnly
                        | ErrorCode::PermissionDenied
                        | ErrorCode::DatabaseCorrupt
                        | ErrorCode::NotADatabase
                )
            ),
        }
    }

    /// Returns whether a file could not be written, as it cannot on a full disk.
    pub(super) fn is_out_of_space(&self) -> bool {
        match self {
            Self::Stopped | Self::Replaced(_) => false,
            Self::Sqlite(error) => {
                matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure))
            }
        }
    }
}

impl From<rusqlite::Error> for EngineError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}
