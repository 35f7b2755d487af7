//! One dead letter in full.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::DeadLetterQueue;
use super::history::HistoryLine;
use super::next_action::{NextStep, after_dead_letter};
use super::row::{Bodies, DeadLetterRow};
use super::selection::SelectedDeadLetter;
use super::times;
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, HistoryEntry};
use ecom_domain::verdict::Verdict;
use ecom_pipeline::apply_check::assess;
use ecom_store::StoreError;

/// A dead letter with its history, its verdict and the next steps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetterDetails {
    /// The store, with host or path.
    pub store: String,
    /// The time of the read, microseconds since the epoch.
    pub at: i64,
    /// The dead letter.
    pub record: DeadLetterRecord,
    /// The result of retrying it now.
    pub verdict: Verdict,
    /// Its history, oldest first.
    pub history: Vec<HistoryEntry>,
    /// The next steps.
    pub next: Vec<NextStep>,
}

impl Serialize for DeadLetterDetails {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct View<'l> {
            store: &'l str,
            #[serde(serialize_with = "times::serialize")]
            at: i64,
            #[serde(flatten)]
            row: DeadLetterRow<'l>,
            #[serde(serialize_with = "times::optional::serialize")]
            state_since: Option<i64>,
            attributes: BTreeMap<&'l str, &'l str>,
            history: Vec<HistoryLine<'l>>,
            next: &'l [NextStep],
        }
        let selected = SelectedDeadLetter { record: self.record.clone(), verdict: Some(self.verdict) };
        let view = View {
            store: &self.store,
            at: self.at,
            row: DeadLetterRow::of(&selected, self.at, Bodies::Included),
            state_since: self.record.progress.state_at,
            attributes: self.record.dead_letter.attributes.iter().collect(),
            history: self.history.iter().map(HistoryLine::from).collect(),
            next: &self.next,
        };
        view.serialize(serializer)
    }
}

impl DeadLetterQueue {
    /// Reads a dead letter; `None` if there is none with this id.
    pub async fn show(&self, id: &DeadLetterId) -> Result<Option<DeadLetterDetails>, StoreError> {
        let Some(record) = self.dead_letter_store.dead_letter(id).await? else { return Ok(None) };
        let verdict = assess(self.facts.as_ref(), &record.dead_letter).await?;
        let history = self.dead_letter_store.history(id).await?;
        let next = after_dead_letter(&record, verdict);
        let (store, at) = (self.facts.describe(), self.clock.now_us());
        Ok(Some(DeadLetterDetails { store, at, record, verdict, history, next }))
    }
}
