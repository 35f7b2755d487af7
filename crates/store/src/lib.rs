//! The ports of the store: the fact table, the dead-letter store and the operations store.
//!
//! A port reads and writes columns and decides nothing: the decisions are in `ecom_domain::verdict` and in
//! the pipeline. Every implementation passes the suites of the `contract` module (feature `contract`).

#[cfg(feature = "contract")]
pub mod contract;
mod dead_letters;
mod facts;
#[cfg(feature = "memory")]
pub mod memory;
mod operations;

pub use dead_letters::{DeadLetterStore, Scan};
pub use facts::{FactRange, FactStore};
pub use operations::OperationsStore;

/// An error of the store.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The store is unavailable, or the result of the statement is unknown. Repeat it with the same
    /// arguments: if it was applied after all, the repetition changes nothing.
    #[error("could not {what} on {on}: {source}")]
    Unavailable {
        /// The operation, as a verb phrase.
        what: &'static str,
        /// The store, with hosts or path.
        on: String,
        /// The error of the adapter.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store and this process do not accept each other: a login or a certificate is refused. A repetition
    /// succeeds once that has been changed.
    #[error("could not {what} on {on}: {source}")]
    NotAdmitted {
        /// The operation, as a verb phrase.
        what: &'static str,
        /// The store, with hosts or path.
        on: String,
        /// The fault.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Part of a scan could not be read; the scan goes on with the next part.
    #[error("could not read {part} on {on}: {source}")]
    Unreadable {
        /// The part.
        part: String,
        /// The store, with hosts or path.
        on: String,
        /// The error of the adapter.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store refused the statement; a repetition cannot succeed.
    #[error("{on} refused to {what}: {source}")]
    Refused {
        /// The operation, as a verb phrase.
        what: &'static str,
        /// The store, with hosts or path.
        on: String,
        /// The error of the adapter.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Returns whether a repetition may succeed.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::NotAdmitted { .. } | Self::Unreadable { .. } => true,
            Self::Refused { .. } => false,
        }
    }

    /// Returns whether the store and this process do not accept each other.
    pub fn is_not_admitted(&self) -> bool {
        matches!(self, Self::NotAdmitted { .. })
    }
}
