//! All about one letter.

use super::Desk;
use super::next::{Step, after_letter};
use ecom_domain::letter::{HistoryEntry, LetterId, LetterRecord};
use ecom_domain::verdict::Verdict;
use ecom_pipeline::assess::assess;
use ecom_store::StoreError;

/// A letter with its history, what retrying it would do, and what to run next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// The store, with host or path.
    pub store: String,
    /// When this was read, microseconds since the epoch.
    pub at: i64,
    /// The letter.
    pub record: LetterRecord,
    /// What retrying it would do now.
    pub verdict: Verdict,
    /// What was done to it, oldest first.
    pub history: Vec<HistoryEntry>,
    /// What to run next.
    pub next: Vec<Step>,
}

impl Desk {
    /// Reads a letter; `None` where there is none of this id.
    pub async fn show(&self, id: &LetterId) -> Result<Option<Shown>, StoreError> {
        let Some(record) = self.ledger.letter(id).await? else { return Ok(None) };
        let verdict = assess(self.facts.as_ref(), &record.letter).await?;
        let history = self.ledger.history(id).await?;
        let next = after_letter(&record, verdict);
        let (store, at) = (self.facts.describe(), self.clock.now_us());
        Ok(Some(Shown { store, at, record, verdict, history, next }))
    }
}
