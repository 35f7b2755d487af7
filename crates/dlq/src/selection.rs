//! Which dead letters a command is about.

use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};

use super::DeadLetterQueue;
use ecom_codec::envelope::rfc3339;
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, DeadLetterState};
use ecom_domain::order::OrderId;
use ecom_domain::reason::{Class, Reason};
use ecom_domain::verdict::Verdict;
use ecom_pipeline::apply_check::assess;
use ecom_store::{Scan, StoreError};

/// Dead letters named by id, or every dead letter that passes all filters.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Selection {
    /// These dead letters only; empty = whatever the filters pass.
    pub ids: Vec<DeadLetterId>,
    /// In one of these states; empty = any.
    pub states: Vec<DeadLetterState>,
    /// With this reason.
    pub reason: Option<Reason>,
    /// With a reason of this class.
    pub class: Option<Class>,
    /// With this verdict now.
    pub verdict: Option<Verdict>,
    /// About this order.
    pub order: Option<OrderId>,
    /// About this payment.
    pub payment: Option<i64>,
    /// First failed at or after this time, microseconds since the epoch.
    pub since: Option<i64>,
    /// First failed before this time, microseconds since the epoch.
    pub until: Option<i64>,
}

/// A dead letter, and its verdict where that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SelectedDeadLetter {
    /// The dead letter.
    pub record: DeadLetterRecord,
    /// What retrying it would do now.
    pub verdict: Option<Verdict>,
}

impl Selection {
    /// The dead letters somebody or something still has to act on.
    pub fn open() -> Self {
        Self { states: vec![DeadLetterState::Waiting, DeadLetterState::Parked], ..Self::default() }
    }

    /// Whether a dead letter passes every filter but the verdict's, which needs a look at the fact table.
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

impl Selection {
    /// The words of a command line that select the same: what the audit keeps, and what commands
    /// are spelt with.
    pub fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.ids.iter().map(|id| id.as_str().to_owned()).collect();
        let mut filter = |flag: &str, value: Option<String>| {
            words.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
        };
        let states: Vec<&str> = self.states.iter().map(|state| state.as_str()).collect();
        let states = match self.states == Self::open().states {
            true => "open".to_owned(),
            false => states.join(","),
        };
        filter("--state", (!states.is_empty()).then_some(states));
        filter("--reason", self.reason.map(|reason| reason.as_str().to_owned()));
        filter("--class", self.class.map(|class| class.as_str().to_owned()));
        filter("--verdict", self.verdict.map(|verdict| verdict.as_str().to_owned()));
        filter("--order", self.order.map(|order| order.to_string()));
        filter("--payment", self.payment.map(|payment| payment.to_string()));
        filter("--since", self.since.map(rfc3339));
        filter("--until", self.until.map(rfc3339));
        words
    }
}

/// What is read of each dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// All but bodies and attributes; no verdict, unless the selection asks for one.
    Brief,
    /// Everything, and the verdict.
    Judged,
}

impl DeadLetterQueue {
    /// Reads the selected dead letters, newest day first, looking their orders up within the window.
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

    /// The dead letters to look at, by the narrowest way the selection leaves.
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
            Some(order) => self.dead_letter_store.dead_letters_of(order),
            None => self.dead_letter_store.dead_letters(Scan { bodies, ..Scan::ALL }),
        }
    }
}
