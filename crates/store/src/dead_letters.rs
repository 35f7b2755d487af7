//! The dead-letter store.

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::StoreError;
use ecom_domain::dead_letter::{DeadLetter, DeadLetterId, DeadLetterRecord, DeadLetterUpdate, HistoryEntry};
use ecom_domain::event_time::EventTime;
use ecom_domain::order::OrderId;

/// The dead-letter dead-letter store: immutable dead letters, precedence-ordered states, append-only history.
///
/// As in the fact table every write is idempotent, durable after `Ok`, and may be repeated after
/// `Unavailable`.
#[async_trait]
pub trait DeadLetterStore: Send + Sync {
    /// Writes the dead letter's immutable columns at T, its line in the index by order, and the history
    /// line. Never writes a state, so that a late copy of a dead letter changes nothing about it.
    async fn record(&self, dead_letter: &DeadLetter, entry: &HistoryEntry) -> Result<(), StoreError>;

    /// Reads one dead letter.
    async fn dead_letter(&self, id: &DeadLetterId) -> Result<Option<DeadLetterRecord>, StoreError>;

    /// Reads a dead letter's history, oldest first.
    async fn history(&self, id: &DeadLetterId) -> Result<Vec<HistoryEntry>, StoreError>;

    /// Writes a change and its history line in one batch; of two changes the one with the larger
    /// write timestamp stays, in either order of arrival.
    async fn act(&self, act: &DeadLetterUpdate) -> Result<(), StoreError>;

    /// Reads dead letters, newest day first and in no order within a day, a page at a time.
    fn dead_letters(&self, scan: Scan) -> BoxStream<'_, Result<DeadLetterRecord, StoreError>>;

    /// Reads every dead letter about an order, whole, latest T first, a page at a time, by the index that
    /// stands beside the dead-letter store.
    fn dead_letters_of(&self, order_id: OrderId) -> BoxStream<'_, Result<DeadLetterRecord, StoreError>>;

    /// Removes a dead letter, its history and its line in the index by a delete at its highest cell's time, so that a dead letter
    /// of old T recorded later does not vanish under it.
    async fn remove(&self, record: &DeadLetterRecord) -> Result<(), StoreError>;
}

/// Which dead letters to read, and how much of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scan {
    /// From this T on.
    pub from: Option<EventTime>,
    /// Up to, not including, this T.
    pub until: Option<EventTime>,
    /// Whether bodies and attributes are read; else they come back empty.
    pub bodies: bool,
}

impl Scan {
    /// All dead letters, whole.
    pub const ALL: Self = Self { from: None, until: None, bodies: true };
    /// All dead letters, without bodies and attributes.
    pub const BRIEF: Self = Self { from: None, until: None, bodies: false };

    /// Whether a dead letter of this T is wanted.
    pub fn wants(&self, t: EventTime) -> bool {
        self.from.is_none_or(|from| t >= from) && self.until.is_none_or(|until| t < until)
    }
}
