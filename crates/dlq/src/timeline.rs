//! The timeline of an order: its row, every dead letter about it, and their histories.

use futures_util::{StreamExt, TryStreamExt};
use serde::{Serialize, Serializer};

use super::DeadLetterQueue;
use super::history::HistoryLine;
use super::list::without_body;
use super::next_action::{NextStep, after_timeline};
use super::row::{Bodies, DeadLetterRow};
use super::selection::SelectedDeadLetter;
use super::times;
use ecom_codec::envelope::{SOURCE_SUBSCRIPTION, parse_rfc3339};
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, HistoryEntry};
use ecom_domain::fact::Fact;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_domain::verdict::Verdict;
use ecom_pipeline::apply_check::assess;
use ecom_store::StoreError;

/// The most dead letters of one order that are read, newest first; more than one order gets in a year.
const DEAD_LETTERS: usize = 500;
/// The most dead letters whose verdict and history are read concurrently.
const AT_ONCE: usize = 16;

/// A dead letter about the order, without its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExplainedDeadLetter {
    /// The dead letter, with its verdict.
    pub selected: SelectedDeadLetter,
    /// The publish time of the original message, microseconds since the epoch, and its subscription.
    pub published: Option<(i64, String)>,
    /// The result of retrying it now.
    pub verdict: Verdict,
    /// Its history, oldest first.
    pub history: Vec<HistoryEntry>,
    /// The next steps.
    pub next: Vec<NextStep>,
}

/// An order's row and dead letters.
#[derive(Clone, PartialEq, Debug)]
pub struct OrderTimeline {
    /// The store, with host or path.
    pub store: String,
    /// The time of the read, microseconds since the epoch.
    pub at: i64,
    /// The order.
    pub order: OrderId,
    /// Its row; `None` if there is none.
    pub fact: Option<Fact>,
    /// The dead letters about it, newest event time first.
    pub dead_letters: Vec<ExplainedDeadLetter>,
    /// True if there are more dead letters, older than these.
    pub more: bool,
}

/// An event of the timeline, at a time by the clock of the process that recorded it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimelineEntry<'e> {
    /// Microseconds since the epoch.
    pub at: i64,
    /// The event.
    pub event: TimelineEvent<'e>,
}

/// The events of a timeline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TimelineEvent<'e> {
    /// The order event that the row shows, at its event time.
    OrderShown,
    /// The payment event that the row shows, at its event time.
    PaymentShown {
        /// The payment.
        payment_id: Option<i64>,
    },
    /// The event of a dead letter, at its event time.
    Happened {
        /// The dead letter.
        dead_letter: &'e DeadLetterRecord,
    },
    /// The original message was published.
    Published {
        /// The dead letter.
        dead_letter: &'e DeadLetterRecord,
        /// The subscription that delivered it.
        subscription: &'e str,
    },
    /// The message was dead-lettered.
    Failed {
        /// The dead letter.
        dead_letter: &'e DeadLetterRecord,
    },
    /// A line of a dead letter's history.
    Done {
        /// The dead letter.
        dead_letter: &'e DeadLetterId,
        /// The line.
        entry: &'e HistoryEntry,
    },
}

impl OrderTimeline {
    /// All events, earliest first.
    pub fn timeline(&self) -> Vec<TimelineEntry<'_>> {
        let mut entries = Vec::new();
        if let Some(fact) = &self.fact {
            let order = fact.order_written_at.map(|t| (t, TimelineEvent::OrderShown));
            let payment_id = fact.payment.payment_id;
            let payment = fact.payment_written_at.map(|t| (t, TimelineEvent::PaymentShown { payment_id }));
            let shown = order.into_iter().chain(payment);
            entries.extend(shown.map(|(t, event)| TimelineEntry { at: t.micros(), event }));
        }
        for ExplainedDeadLetter { selected, published, history, .. } in &self.dead_letters {
            let record = &selected.record;
            let dead_letter = &record.dead_letter;
            entries.extend(published.iter().map(|(at, subscription)| TimelineEntry {
                at: *at,
                event: TimelineEvent::Published { dead_letter: record, subscription },
            }));
            entries.push(TimelineEntry {
                at: dead_letter.t.micros(),
                event: TimelineEvent::Happened { dead_letter: record },
            });
            entries.push(TimelineEntry {
                at: dead_letter.first_failed_at,
                event: TimelineEvent::Failed { dead_letter: record },
            });
            entries.extend(history.iter().map(|entry| TimelineEntry {
                at: entry.at,
                event: TimelineEvent::Done { dead_letter: &dead_letter.id, entry },
            }));
        }
        entries.sort_by_key(|entry| entry.at);
        entries
    }
}

impl Serialize for OrderTimeline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct View<'t> {
            store: &'t str,
            #[serde(serialize_with = "times::serialize")]
            at: i64,
            order_id: OrderId,
            row: Option<RowView<'t>>,
            timeline: Vec<TimelineEntry<'t>>,
            dead_letters: Vec<DeadLetterView<'t>>,
            more: bool,
        }
        /// The row without personal data.
        #[derive(Serialize)]
        struct RowView<'t> {
            has_order: bool,
            #[serde(serialize_with = "times::optional::serialize")]
            order_written_at: Option<i64>,
            order_status: Option<&'t str>,
            payment_id: Option<i64>,
            payment_status: Option<&'t str>,
            #[serde(serialize_with = "times::optional::serialize")]
            payment_written_at: Option<i64>,
        }
        #[derive(Serialize)]
        struct DeadLetterView<'t> {
            #[serde(flatten)]
            row: DeadLetterRow<'t>,
            history: Vec<HistoryLine<'t>>,
            next: &'t [NextStep],
        }
        let view = View {
            store: &self.store,
            at: self.at,
            order_id: self.order,
            row: self.fact.as_ref().map(|fact| RowView {
                has_order: fact.has_order(),
                order_written_at: fact.order_written_at.map(|t| t.micros()),
                order_status: fact.order.order_status.as_deref(),
                payment_id: fact.payment.payment_id,
                payment_status: fact.payment.payment_status.as_deref(),
                payment_written_at: fact.payment_written_at.map(|t| t.micros()),
            }),
            timeline: self.timeline(),
            dead_letters: self
                .dead_letters
                .iter()
                .map(|explained| DeadLetterView {
                    row: DeadLetterRow::of(&explained.selected, self.at, Bodies::Omitted),
                    history: explained.history.iter().map(HistoryLine::from).collect(),
                    next: &explained.next,
                })
                .collect(),
            more: self.more,
        };
        view.serialize(serializer)
    }
}

impl Serialize for TimelineEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct View<'e> {
            #[serde(serialize_with = "times::serialize")]
            at: i64,
            event: &'static str,
            dead_letter: Option<&'e DeadLetterId>,
            payment_id: Option<i64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            reason: Option<Reason>,
            #[serde(skip_serializing_if = "Option::is_none")]
            done: Option<HistoryLine<'e>>,
        }
        let of = |event, record: &'_ DeadLetterRecord| (event, record.dead_letter.payment_id);
        let (dead_letter, reason, done, (event, payment_id)) = match self.event {
            TimelineEvent::OrderShown => (None, None, None, ("order_shown", None)),
            TimelineEvent::PaymentShown { payment_id } => (None, None, None, ("payment_shown", payment_id)),
            TimelineEvent::Happened { dead_letter } => {
                (Some(&dead_letter.dead_letter.id), None, None, of("happened", dead_letter))
            }
            TimelineEvent::Published { dead_letter, .. } => {
                (Some(&dead_letter.dead_letter.id), None, None, of("published", dead_letter))
            }
            TimelineEvent::Failed { dead_letter } => {
                let reason = Some(dead_letter.dead_letter.reason);
                (Some(&dead_letter.dead_letter.id), reason, None, of("failed", dead_letter))
            }
            TimelineEvent::Done { dead_letter, entry } => {
                (Some(dead_letter), None, Some(HistoryLine::from(entry)), ("done", None))
            }
        };
        View { at: self.at, event, dead_letter, payment_id, reason, done }.serialize(serializer)
    }
}

impl DeadLetterQueue {
    /// Reads the timeline of an order; `None` if it has neither a row nor a dead letter.
    pub async fn explain(&self, order: OrderId) -> Result<Option<OrderTimeline>, StoreError> {
        let fact = self.facts.fact(order).await?;
        let mut dead_letters: Vec<ExplainedDeadLetter> = self
            .dead_letter_store
            .dead_letters_of_order(order)
            .take(DEAD_LETTERS + 1)
            .map_ok(|record| self.explained(record))
            .try_buffered(self.window.clamp(1, AT_ONCE))
            .try_collect()
            .await?;
        if fact.is_none() && dead_letters.is_empty() {
            return Ok(None);
        }
        let more = dead_letters.len() > DEAD_LETTERS;
        dead_letters.truncate(DEAD_LETTERS);
        let (store, at) = (self.facts.describe(), self.clock.now_us());
        Ok(Some(OrderTimeline { store, at, order, fact, dead_letters, more }))
    }

    async fn explained(&self, record: DeadLetterRecord) -> Result<ExplainedDeadLetter, StoreError> {
        let verdict = assess(self.facts.as_ref(), &record.dead_letter).await?;
        let history = self.dead_letter_store.history(&record.dead_letter.id).await?;
        let next = after_timeline(&record, verdict);
        let published = published(&record);
        let selected = without_body(SelectedDeadLetter { record, verdict: Some(verdict) });
        Ok(ExplainedDeadLetter { selected, published, verdict, history, next })
    }
}

/// The publish time and subscription of the original message, from the dead letter's attributes.
fn published(record: &DeadLetterRecord) -> Option<(i64, String)> {
    let attributes = &record.dead_letter.attributes;
    let at = parse_rfc3339(attributes.get("dlq_published_at")?)?;
    let subscription = attributes.get(SOURCE_SUBSCRIPTION).unwrap_or_default();
    Some((at, subscription.to_owned()))
}
