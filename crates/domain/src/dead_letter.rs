//! Dead letters: messages that could not be applied, with their state and history.

mod body;
mod correction;
mod history;
mod id;
mod state;
mod update;

pub use body::{StoredBody, TRUNCATED_BODY, WHOLE_BODY_LIMIT, sha256};
pub use correction::{ClaimStatus, CorrectionClaim};
pub use history::{HistoryAction, HistoryEntry, HistoryOutcome};
pub use id::{BUCKETS, DeadLetterId, DeadLetterIdPrefix};
pub use state::{DeadLetterProgress, DeadLetterRecord, DeadLetterState, initial_state};
pub use update::{DeadLetterChange, DeadLetterUpdate};

use crate::attributes::Attributes;
pub use crate::event_kind::EventKind;
use crate::event_time::EventTime;
use crate::order::OrderId;
use crate::reason::Reason;

/// The immutable part of a dead letter, written once, at its event time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// The id, which also names the partition.
    pub id: DeadLetterId,
    /// The kind of the event.
    pub kind: EventKind,
    /// The event time of the original message.
    pub t: EventTime,
    /// The body as published.
    pub body: StoredBody,
    /// All attributes of the message on the dead-letter topic.
    pub attributes: Attributes,
    /// The reason it could not be applied.
    pub reason: Reason,
    /// The field and the cause, at most 1 KiB; never the body.
    pub detail: String,
    /// The order it is about; `None` where the body did not say.
    pub order_id: Option<OrderId>,
    /// The payment it is about; `None` where the body did not say.
    pub payment_id: Option<i64>,
    /// The time it first failed, in microseconds since the epoch.
    pub first_failed_at: i64,
    /// The dead letter whose corrected body this message carried, from the attribute `dlq_corrects`.
    pub corrects: Option<DeadLetterId>,
}
