//! The sender into a folder.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use lettre::message::Mailbox;

use super::confirmation::Confirmation;
use super::mail::mail;
use super::sender::{SendError, Sender};

/// Writes each confirmation as a mail into a file of a folder, `<order id>.confirmed.eml`, whole or not at all. A confirmation
/// that is sent twice is written over itself.
#[derive(Clone, Debug)]
pub struct FolderSender {
    folder: PathBuf,
    from: Mailbox,
}

impl FolderSender {
    /// Opens a folder, which is created if it does not exist.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn open(folder: PathBuf, from: Mailbox) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, from })
    }
}

#[async_trait]
impl Sender for FolderSender {
    fn needs_email(&self) -> bool {
        true
    }

    async fn send(&self, confirmation: &Confirmation<'_>) -> Result<(), SendError> {
        let mail = mail(confirmation, &self.from)?.formatted();
        let folder = self.folder.clone();
        let name = format!("{}.eml", confirmation.id('.'));
        let path = folder.join(&name);
        let written = tokio::task::spawn_blocking(move || write(&folder, &name, &mail)).await;
        let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
        written.map_err(|error| SendError::Retryable(format!("could not write {}: {error}", path.display())))
    }
}

/// Writes a file that is durable, and seen whole or not at all.
fn write(folder: &Path, name: &str, contents: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".").suffix(".tmp").tempfile_in(folder)?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name))?;
    // The name is durable when the folder is.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
