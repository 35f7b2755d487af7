//! The store as the pipeline sees it: registers of the fact table, the dead-letter store of dead
//! dead letters, and the operations store of roles and runs.
//!
//! Ports hold registers, not outcomes: what to do with what they hold is decided once, in
//! `domain::verdict` and `pipeline`. Two adapters stand behind them: Cassandra
//! (`store::cassandra`) and the embedded one.

mod dead_letters;
mod facts;
mod operations;

pub use dead_letters::{DeadLetterStore, Scan};
pub use facts::FactStore;
pub use operations::OperationsStore;

/// Why the store could not do what was asked.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// Outcome unknown, or the store cannot now. The same statement with the same T may be tried
    /// again; if it was applied after all, trying again changes nothing.
    #[error("could not {what} on {on}: {source}")]
    Unavailable {
        /// What was attempted.
        what: &'static str,
        /// The store, with host or path.
        on: String,
        /// The adapter's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store refused the statement itself; trying again cannot succeed.
    #[error("{on} refused to {what}: {source}")]
    Refused {
        /// What was attempted.
        what: &'static str,
        /// The store, with host or path.
        on: String,
        /// The adapter's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether trying again may succeed.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Refused { .. } => false,
        }
    }
}
