//! Selections of dead letters: by id, or by filters.

use std::sync::PoisonError;

use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};

use serde::{Deserialize, Serialize};

use super::DeadLetterQueue;
use super::times;
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, DeadLetterState};
use ecom_domain::order::OrderId;
use ecom_domain::reason::{Class, Reason};
use ecom_domain::verdict::Verdict;
use ecom_pipeline::apply_check::assess;
use ecom_store::{Scan, StoreError};

/// Dead letters named by id, or every dead letter that passes all filters. The audit log keeps it as JSON.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// Only these dead letters; empty = any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<DeadLetterId>,
    /// In one of these states; empty = any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<DeadLetterState>,
    /// With this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// With a reason of this class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// With this verdict now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// About this order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
    /// About this payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment: Option<i64>,
    /// First failed at or after this time, microseconds since the epoch.
    #[serde(with = "times::optional", skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// First failed before this time, microseconds since the epoch.
    #[serde(with = "times::optional", skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
}

/// A selected dead letter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SelectedDeadLetter {
    /// The dead letter.
    pub record: DeadLetterRecord,
    /// The result of retrying it now; `None` if that was not looked up.
    pub verdict: Option<Verdict>,
}

impl Selection {
    /// All open dead letters.
    pub fn open() -> Self {
        Self { states: vec![DeadLetterState::Waiting, DeadLetterState::Parked], ..Self::default() }
    }

    /// Dead letters by id.
    pub fn of_ids(ids: impl IntoIterator<Item = DeadLetterId>) -> Self {
        Self { ids: ids.into_iter().collect(), ..Self::default() }
    }

    /// The selection as the audit log keeps it: compact JSON.
    pub fn written(&self) -> String {
        serde_json::to_string(self).expect("a selection of words and numbers always serialises")
    }

    /// Reads [`Selection::written`] back; `None` if another version wrote something else.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Returns whether a dead letter passes every filter but the verdict's, which needs a look at the fact
    /// table.
    pub fn wants(&self, record: &DeadLetterRecord) -> bool {
        let dead_letter = &record.dead_letter;
        let failed = dead_letter.first_failed_at;
        (self.ids.is_empty() || self.ids.contains(&dead_letter.id))
            && (self.states.is_empty() || self.states.contains(&record.state()))
            && self.reason.is_none_or(|reason| dead_letter.reason == reason)
            && self.class.is_none_or(|class| dead_letter.reason.class() == class)
            && self.order.is_none_or(|order| dead_letter.order_id == Some(order))
            && self.payment.is_none_or(|payment| dead_letter.payment_id == Some(payment))
            && self.since.is_none_or(|since| failed >= since)
            && self.until.is_none_or(|until| failed < until)
    }
}

/// The extent of what is read of each dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// Everything except body and attributes; the verdict only if the selection filters by it.
    Brief,
    /// Everything, and the verdict.
    Judged,
}

impl DeadLetterQueue {
    /// Streams the selected dead letters, newest day first. Fact lookups for verdicts run concurrently, at
    /// most [`DeadLetterQueue::window`] at a time.
    pub fn select<'d>(
        &'d self,
        selection: &'d Selection,
        detail: Detail,
    ) -> BoxStream<'d, Result<SelectedDeadLetter, StoreError>> {
        let judged = detail == Detail::Judged || selection.verdict.is_some();
        let wanted = self
            .candidates(selection, judged)
            .try_filter(move |record| std::future::ready(selection.wants(record)));
        if !judged {
            return wanted.map_ok(|record| SelectedDeadLetter { record, verdict: None }).boxed();
        }
        wanted
            .map_ok(move |record| async move {
                let verdict = Some(assess(self.facts.as_ref(), &record.dead_letter).await?);
                Ok(SelectedDeadLetter { record, verdict })
            })
            .try_buffer_unordered(self.window.max(1))
            .try_filter(move |selected| {
                std::future::ready(selection.verdict.is_none_or(|verdict| selected.verdict == Some(verdict)))
            })
            .boxed()
    }

    /// The dead letters to filter, by the narrowest lookup that the selection allows.
    fn candidates<'d>(
        &'d self,
        selection: &'d Selection,
        bodies: bool,
    ) -> BoxStream<'d, Result<DeadLetterRecord, StoreError>> {
        if !selection.ids.is_empty() {
            return futures_util::stream::iter(&selection.ids)
                .map(move |id| self.dead_letter_store.dead_letter(id))
                .buffered(self.window.max(1))
                .try_filter_map(|record| std::future::ready(Ok(record)))
                .boxed();
        }
        match selection.order {
            Some(order) => self.dead_letter_store.dead_letters_of_order(order),
            None => self
                .dead_letter_store
                .dead_letters(Scan { bodies, ..Scan::ALL })
                .filter(|record| std::future::ready(!self.passes_over(record)))
                .boxed(),
        }
    }

    /// Returns true for a part of the store that could not be read, and keeps its error: the rest is still worth
    /// reading.
    fn passes_over(&self, record: &Result<DeadLetterRecord, StoreError>) -> bool {
        let Err(error @ StoreError::Unreadable { .. }) = record else { return false };
        let mut unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        unreadable.insert(error.to_string());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_kept_as_json_and_reads_back() {
        assert_eq!((Selection::default().written().as_str(), Selection::read("")), ("{}", None));
        assert_eq!(Selection::read("--state open"), None);
        let all = Selection {
            ids: DeadLetterId::parse("20240121-07-0123456789abcdef0123456789abcdef").into_iter().collect(),
            states: Selection::open().states,
            reason: Some(Reason::Invalid),
            class: Some(Class::Poison),
            verdict: Some(Verdict::AppliesNow),
            order: Some(OrderId(7)),
            payment: Some(9),
            since: Some(1),
            until: Some(2_000_000),
        };
        let text = all.written();
        assert!(text.contains(r#""since":"1970-01-01T00:00:00.000001Z""#), "{text}");
        assert_eq!(Selection::read(&text), Some(all));
    }
}
