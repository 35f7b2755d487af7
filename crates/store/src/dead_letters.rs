//! The dead-letter store port.

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::StoreError;
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterId, DeadLetterIdPrefix, DeadLetterRecord, DeadLetterUpdate, HistoryEntry,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::order::OrderId;

/// The dead-letter store: immutable dead letters, states ordered by precedence, append-only history.
///
/// Every write is idempotent and durable after `Ok`. After [`StoreError::Unavailable`] it may or may not have
/// been applied, or may be applied later: repeat it with the same arguments.
#[async_trait]
pub trait DeadLetterStore: Send + Sync {
    /// Writes the immutable columns of each dead letter at its event time, its entry in the index by order, and
    /// the history entry. Never writes a state, so that a late copy of a dead letter cannot change it. After an error
    /// each of them may or may not have been written.
    async fn record_all(&self, dead_letters: &[(&DeadLetter, &HistoryEntry)]) -> Result<(), StoreError>;

    /// Writes one dead letter.
    async fn record(&self, dead_letter: &DeadLetter, entry: &HistoryEntry) -> Result<(), StoreError> {
        self.record_all(&[(dead_letter, entry)]).await
    }

    /// Reads a dead letter; `None` where it was not recorded.
    async fn dead_letter(&self, id: &DeadLetterId) -> Result<Option<DeadLetterRecord>, StoreError>;

    /// Reads dead letters without bodies and attributes, in the order of the ids; `None` for each that was not
    /// recorded.
    async fn read_brief(&self, ids: &[DeadLetterId]) -> Result<Vec<Option<DeadLetterRecord>>, StoreError>;

    /// Reads the ids that begin with this, ascending, at most `limit`.
    async fn ids_with_prefix(
        &self,
        prefix: &DeadLetterIdPrefix,
        limit: usize,
    ) -> Result<Vec<DeadLetterId>, StoreError>;

    /// Reads the history of a dead letter, oldest entry first, each `entry_id` once.
    async fn history(&self, id: &DeadLetterId) -> Result<Vec<HistoryEntry>, StoreError>;

    /// Writes changes, each with its history entry in one batch. Of two changes of a dead letter the one with the
    /// larger write timestamp wins, in either order of arrival. After an error each of them may or may not have been
    /// written.
    async fn apply_all(&self, updates: &[DeadLetterUpdate]) -> Result<(), StoreError>;

    /// Writes one change and its history entry.
    async fn apply(&self, update: &DeadLetterUpdate) -> Result<(), StoreError> {
        self.apply_all(std::slice::from_ref(update)).await
    }

    /// Streams dead letters page by page: newest day first, in no order within a day. After
    /// [`StoreError::Unreadable`] the scan goes on; any other error ends it.
    fn dead_letters(&self, scan: Scan) -> BoxStream<'_, Result<DeadLetterRecord, StoreError>>;

    /// Streams the dead letters about an order page by page, with bodies, largest event time first.
    fn dead_letters_of_order(&self, order_id: OrderId)
    -> BoxStream<'_, Result<DeadLetterRecord, StoreError>>;

    /// Deletes a dead letter, its history and its entry in the index, as of this record: what was reopened
    /// after `record` was read stays. A dead letter with an older event time that is recorded later stays
    /// visible.
    async fn remove(&self, record: &DeadLetterRecord) -> Result<(), StoreError>;

    /// Forgets the parts of the store whose dead letters were all removed, so that scans skip them; returns
    /// their number.
    async fn forget_removed(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
}

/// The range of a scan of dead letters, and how much of each to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scan {
    /// The first event time to read; `None` for no lower bound.
    pub from: Option<EventTime>,
    /// The first event time not to read; `None` for no upper bound.
    pub until: Option<EventTime>,
    /// Reads bodies and attributes, too; otherwise they are returned empty.
    pub bodies: bool,
}

impl Scan {
    /// All dead letters, with bodies and attributes.
    pub const ALL: Self = Self { from: None, until: None, bodies: true };
    /// All dead letters, without bodies and attributes.
    pub const BRIEF: Self = Self { from: None, until: None, bodies: false };

    /// Returns whether the event time `t` is in range.
    pub fn wants(&self, t: EventTime) -> bool {
        self.from.is_none_or(|from| t >= from) && self.until.is_none_or(|until| t < until)
    }
}
