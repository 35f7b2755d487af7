//! Errors of opening the file.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};

use super::extension::SchemaExtension;
use super::schema::{self, ProvisionError};

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
    /// The file lacks the tables of an extension, and the options do not create them. Without the extension it can be
    /// opened.
    #[error("{} has no {extension} tables: no program that uses them has opened it yet", path.display())]
    MissingExtension {
        /// The file.
        path: PathBuf,
        /// The name of the extension.
        extension: &'static str,
    },
    /// The tables of an extension were created by a version of this program that uses others.
    #[error(
        "{} has version {found} of the {extension} tables, but this program needs {expected}: open it with the \
         version that created them, or move the file away and start with an empty one",
        path.display()
    )]
    ExtensionVersion {
        /// The file.
        path: PathBuf,
        /// The name of the extension.
        extension: &'static str,
        /// The version of the extension in the file.
        found: i64,
        /// The version that this program reads and writes.
        expected: i64,
    },
    /// This process may not write the file, or create others beside it, which `SQLite` needs for reading, too.
    #[error("{} is not writable: {source}", path.display())]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// The error of `SQLite` or the operating system.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is damaged, or is not a database.
    #[error(
        "could not open {}: {source}; restore it from a backup, or move it away and start with an empty one",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The error of `SQLite`.
        source: Box<dyn std::error::Error + Send + Sync>,
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

impl OpenError {
    /// Returns the error of a failed attempt to create what the options ask for.
    pub(super) fn of_provision(path: &Path, source: ProvisionError) -> Self {
        let at = path.to_owned();
        match source {
            ProvisionError::Sqlite(source) => Self::of(path, source),
            ProvisionError::SchemaVersion { found } => {
                Self::SchemaVersion { path: at, found, expected: schema::VERSION }
            }
            ProvisionError::MissingExtension(SchemaExtension { name, .. }) => {
                Self::MissingExtension { path: at, extension: name }
            }
            ProvisionError::ExtensionVersion { extension: SchemaExtension { name, version, .. }, found } => {
                Self::ExtensionVersion { path: at, extension: name, found, expected: version }
            }
        }
    }

    /// Returns the error of a failed attempt to open the file, which tells a refusal from what may pass.
    pub(super) fn of(path: &Path, source: rusqlite::Error) -> Self {
        let code = source.sqlite_error_code();
        let (path, source) = (path.to_owned(), Box::new(source));
        match code {
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                match (write_refusal(&path), code) {
                    (Some(refusal), _) => Self::NotWritable { path, source: Box::new(refusal) },
                    // Without a free file handle, too, a file cannot be opened.
                    (None, Some(ErrorCode::CannotOpen)) => Self::Unavailable { path, source },
                    (None, _) => Self::NotWritable { path, source },
                }
            }
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged { path, source },
            _ => Self::Unavailable { path, source },
        }
    }
}

/// Returns the error with which the system refuses to write the file or its folder; `None` where it does not.
fn write_refusal(path: &Path) -> Option<io::Error> {
    let is_refusal = |error: &io::Error| {
        matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
    };
    let probe = path.with_extension(format!("probe-{}", std::process::id()));
    match std::fs::File::create_new(&probe) {
        Ok(_) => drop(std::fs::remove_file(&probe)),
        Err(error) if is_refusal(&error) => return Some(error),
        Err(_) => {}
    }
    // Not opened directly: closing it would release the locks that this process has on it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let is_read_only = Connection::open_with_flags(path, flags).and_then(|file| file.is_readonly(MAIN_DB));
    matches!(is_read_only, Ok(true)).then(|| ErrorKind::PermissionDenied.into())
}
