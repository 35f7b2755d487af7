//! Errors of opening the file.

use std::path::PathBuf;

/// An error of opening the file.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The file does not exist, and the options do not create it.
    #[error("there is no {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The folder could not be created.
    #[error("could not create the folder {}: {source}", path.display())]
    DataFolder {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file was created by a version of this program that uses another schema.
    #[error(
        "{} has schema version {found}, but this program needs {expected}: open it with the version that \
         created it, or move the file away and start with an empty one",
        path.display()
    )]
    SchemaVersion {
        /// The file.
        path: PathBuf,
        /// The file's schema version.
        found: i64,
        /// The schema version this program reads and writes.
        expected: i64,
    },
    /// The file could not be opened, or its schema not created. Where another process has locked it, a retry
    /// may succeed.
    #[error("could not open {}: {source}", path.display())]
    Unavailable {
        /// The file.
        path: PathBuf,
        /// The error of `SQLite` or the operating system.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
