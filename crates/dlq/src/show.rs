//! All about one dead letter.

use super::DeadLetterQueue;
use super::next::{Step, after_dead_letter};
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, HistoryEntry};
use ecom_domain::verdict::Verdict;
use ecom_pipeline::apply_check::assess;
use ecom_store::StoreError;

/// A dead letter with its history, what retrying it would do, and what to run next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetterDetails {
    /// The store, with host or path.
    pub store: String,
    /// When this was read, microseconds since the epoch.
    pub at: i64,
    /// The dead letter.
    pub record: DeadLetterRecord,
    /// What retrying it would do now.
    pub verdict: Verdict,
    /// What was done to it, oldest first.
    pub history: Vec<HistoryEntry>,
    /// What to run next.
    pub next: Vec<Step>,
}

impl DeadLetterQueue {
    /// Reads a dead letter; `None` where there is none of this id.
    pub async fn show(&self, id: &DeadLetterId) -> Result<Option<DeadLetterDetails>, StoreError> {
        let Some(record) = self.dead_letter_store.dead_letter(id).await? else { return Ok(None) };
        let verdict = assess(self.facts.as_ref(), &record.dead_letter).await?;
        let history = self.dead_letter_store.history(id).await?;
        let next = after_dead_letter(&record, verdict);
        let (store, at) = (self.facts.describe(), self.clock.now_us());
        Ok(Some(DeadLetterDetails { store, at, record, verdict, history, next }))
    }
}
