//! The identity of a file: tells whether a path still names the file that was opened there.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::SystemTime;

use ecom_domain::mutant::{Mutant, is_active};

/// The identity of a file, which differs from that of every file that takes its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileIdentity {
    /// Device and inode. Where the system has none, a file that is open cannot be replaced.
    node: Option<(u64, u64)>,
    /// The time of creation, where the file system keeps it: the inode of a deleted file is used again.
    created: Option<SystemTime>,
}

impl FileIdentity {
    /// Returns the identity of the file at this path.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        #[cfg(unix)]
        let node = {
            use std::os::unix::fs::MetadataExt;
            Some((metadata.dev(), metadata.ino()))
        };
        #[cfg(not(unix))]
        let node = None;
        Ok(Self { node, created: metadata.created().ok() })
    }

    /// Returns whether the path names this file. A path that cannot be looked up at the moment counts as
    /// unchanged.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        match Self::of(path) {
            _ if is_active(Mutant::FileNotChecked) => true,
            Ok(found) => found == *self,
            Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_itself_and_neither_its_successor_nor_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("file"), dir.path().join("moved"));
        std::fs::write(&path, "one").unwrap();
        let identity = FileIdentity::of(&path).unwrap();
        std::fs::write(&path, "changed").unwrap();
        assert!(identity.is_at(&path));
        std::fs::rename(&path, &moved).unwrap();
        assert!(!identity.is_at(&path) && identity.is_at(&moved));
        std::fs::write(&path, "two").unwrap();
        assert!(!identity.is_at(&path));
        assert!(!identity.is_at(&path.join("below")), "a file is not a folder");
    }
}
