//! The disposition of a delivery: the only way to an ack leads through one.

use super::durable::Durable;
use ecom_domain::reason::Reason;
use ecom_telemetry::metrics::DispositionLabel;

/// The disposition of a message, with the proof that its effect is durable.
#[derive(Debug)]
pub enum Disposition {
    /// Written to the fact table.
    Applied(Durable),
    /// The row already shows it.
    AlreadyApplied(Durable),
    /// The row shows a newer event.
    Superseded(Durable),
    /// Published on the dead-letter topic.
    DeadLettered(Reason, Durable),
    /// Written to the dead-letter store.
    Recorded(Durable),
}

impl Disposition {
    /// The label it is counted under.
    pub fn label(&self) -> DispositionLabel {
        match self {
            Self::Applied(_) => DispositionLabel::Applied,
            Self::AlreadyApplied(_) => DispositionLabel::AlreadyApplied,
            Self::Superseded(_) => DispositionLabel::Superseded,
            Self::DeadLettered(..) => DispositionLabel::DeadLettered,
            Self::Recorded(_) => DispositionLabel::Recorded,
        }
    }
}
