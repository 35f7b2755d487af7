//! What was done with a delivery. The only way to an ack leads through one of these.

use super::durable::Durable;
use ecom_domain::reason::Reason;
use ecom_telemetry::metrics::Outcome;

/// How a message was finished; each carries the proof that its effect is durable.
#[derive(Debug)]
pub enum Settlement {
    /// Written to the fact table.
    Applied(Durable),
    /// The row shows it already.
    AlreadyApplied(Durable),
    /// The row shows a newer one.
    Superseded(Durable),
    /// Its dead letter has a receipt.
    DeadLettered(Reason, Durable),
    /// Written to the ledger.
    Recorded(Durable),
}

impl Settlement {
    /// The counter it belongs to.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Applied(_) => Outcome::Applied,
            Self::AlreadyApplied(_) => Outcome::AlreadyApplied,
            Self::Superseded(_) => Outcome::Superseded,
            Self::DeadLettered(..) => Outcome::DeadLettered,
            Self::Recorded(_) => Outcome::Recorded,
        }
    }
}

/// What a handler did with a message.
#[derive(Debug)]
pub enum Step {
    /// Finished it.
    Settled(Settlement),
    /// Its order is not there yet: look again after a while, keeping the lease.
    Hold,
}
