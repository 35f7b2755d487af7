//! The ledger of dead letters.

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::StoreError;
use ecom_domain::event_time::EventTime;
use ecom_domain::letter::{Act, HistoryEntry, Letter, LetterId, LetterRecord};
use ecom_domain::order::OrderId;

/// The dead-letter ledger: immutable letters, precedence-ordered states, append-only history.
///
/// As in the fact table every write is idempotent, durable after `Ok`, and may be repeated after
/// `Unavailable`.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Writes the letter's immutable columns at T, its line in the index by order, and the history
    /// line. Never writes a state, so that a late copy of a letter changes nothing about it.
    async fn record(&self, letter: &Letter, entry: &HistoryEntry) -> Result<(), StoreError>;

    /// Reads one letter.
    async fn letter(&self, id: &LetterId) -> Result<Option<LetterRecord>, StoreError>;

    /// Reads a letter's history, oldest first.
    async fn history(&self, id: &LetterId) -> Result<Vec<HistoryEntry>, StoreError>;

    /// Writes a change and its history line in one batch; of two changes the one with the larger
    /// ledger time stays, in either order of arrival.
    async fn act(&self, act: &Act) -> Result<(), StoreError>;

    /// Reads letters, newest day first and in no order within a day, a page at a time.
    fn letters(&self, scan: Scan) -> BoxStream<'_, Result<LetterRecord, StoreError>>;

    /// Reads every letter about an order, whole, latest T first, a page at a time, by the index that
    /// stands beside the ledger.
    fn letters_of(&self, order_id: OrderId) -> BoxStream<'_, Result<LetterRecord, StoreError>>;

    /// Removes a letter, its history and its line in the index by a delete at its highest cell's time, so that a letter
    /// of old T recorded later does not vanish under it.
    async fn remove(&self, record: &LetterRecord) -> Result<(), StoreError>;
}

/// Which letters to read, and how much of each.
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
    /// All letters, whole.
    pub const ALL: Self = Self { from: None, until: None, bodies: true };
    /// All letters, without bodies and attributes.
    pub const BRIEF: Self = Self { from: None, until: None, bodies: false };

    /// Whether a letter of this T is wanted.
    pub fn wants(&self, t: EventTime) -> bool {
        self.from.is_none_or(|from| t >= from) && self.until.is_none_or(|until| t < until)
    }
}
