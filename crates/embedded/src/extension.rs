//! Tables of other crates in the same file.

use rusqlite::Connection;

use super::embedded::Embedded;
use ecom_store::StoreError;

/// The tables of another crate in the same file. The first process that opens the file with them, see
/// [`Options::extensions`](crate::Options::extensions), creates them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SchemaExtension {
    /// The name, which no other extension of the file has: one word, such as `shop`, for errors such as "it
    /// has no shop tables".
    pub name: &'static str,
    /// The version of `sql`. A file with another version of the extension is refused.
    pub version: i64,
    /// The statements that create the tables in a file without them. They run within a transaction.
    pub sql: &'static str,
}

impl Embedded {
    /// Runs a read on a snapshot of the file that has every write answered before, by whatever process.
    /// `what` is the operation, as a verb phrase for errors.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if a repetition may succeed, [`StoreError::Refused`] otherwise: for
    /// example, if `work` finds a value that it cannot convert.
    pub async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.engine.read(work).await.map_err(|error| self.store_error(what, error))
    }

    /// Runs a write, in one transaction with every other write that waits; durable after `Ok`. No other
    /// write, of whatever process, comes between the statements of `work`. `what` is the operation, as a verb
    /// phrase for errors.
    ///
    /// `work` must not begin or end a transaction, and may be called again: where another write of the
    /// transaction failed, all are rolled back and run once more. If `work` itself fails, its changes alone
    /// are rolled back. Where the future is dropped, the write may be applied all the same, and after reads
    /// that begin later.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if a repetition may succeed: the outcome may be unknown, but is decided.
    /// [`StoreError::Refused`] otherwise.
    pub async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.engine.write(work).await.map_err(|error| self.store_error(what, error))
    }
}
