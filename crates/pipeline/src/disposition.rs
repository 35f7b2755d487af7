//! What was done with a delivery. The only way to an ack leads through one of these.

use super::durable::Durable;
use ecom_domain::reason::Reason;
use ecom_telemetry::metrics::DispositionLabel;

/// How a message was finished; each carries the proof that its effect is durable.
#[derive(Debug)]
pub enum Disposition {
    /// Written to the fact table.
    Applied(Durable),
    /// The row shows it already.
    AlreadyApplied(Durable),
    /// The row shows a newer one.
    Superseded(Durable),
    /// Its dead letter has a receipt.
    DeadLettered(Reason, Durable),
    /// Written to the dead-letter store.
    Recorded(Durable),
}

impl Disposition {
    /// The counter it belongs to.
    pub fn outcome(&self) -> DispositionLabel {
        match self {
            Self::Applied(_) => DispositionLabel::Applied,
            Self::AlreadyApplied(_) => DispositionLabel::AlreadyApplied,
            Self::Superseded(_) => DispositionLabel::Superseded,
            Self::DeadLettered(..) => DispositionLabel::DeadLettered,
            Self::Recorded(_) => DispositionLabel::Recorded,
        }
    }
}

/// What a handler did with a message.
#[derive(Debug)]
pub enum Handled {
    /// Finished it.
    Settled(Disposition),
    /// Its order is not there yet: look again after a while, keeping the lease.
    AwaitOrder,
}
