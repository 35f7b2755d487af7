//! One timeline for an order: its row, every dead letter about it, and what was done to each.

use chrono::DateTime;
use futures_util::{StreamExt, TryStreamExt};

use super::DeadLetterQueue;
use super::list::without_body;
use super::next::{Step, after_order};
use super::selection::SelectedDeadLetter;
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, HistoryEntry};
use ecom_domain::fact::Fact;
use ecom_domain::order::OrderId;
use ecom_domain::verdict::Verdict;
use ecom_pipeline::apply_check::assess;
use ecom_store::StoreError;

/// Dead letters of one order that are told of, the newest; more than one order has in a year.
const DEAD_LETTERS: usize = 500;
/// Dead letters looked into at once.
const AT_ONCE: usize = 16;

/// A dead letter about the order, without its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExplainedDeadLetter {
    /// The dead letter.
    pub record: DeadLetterRecord,
    /// When the message was published, microseconds since the epoch, and the subscription it came from.
    pub published: Option<(i64, String)>,
    /// What retrying it would do now.
    pub verdict: Verdict,
    /// What was done to it, oldest first.
    pub history: Vec<HistoryEntry>,
    /// What to run next.
    pub next: Vec<Step>,
}

/// All that is known of an order.
#[derive(Clone, PartialEq, Debug)]
pub struct OrderTimeline {
    /// The store, with host or path.
    pub store: String,
    /// When this was read, microseconds since the epoch.
    pub at: i64,
    /// The order.
    pub order: OrderId,
    /// Its row.
    pub fact: Option<Fact>,
    /// The dead letters about it, newest T first.
    pub dead_letters: Vec<ExplainedDeadLetter>,
    /// Whether there are more, older ones.
    pub more: bool,
}

/// Something that happened, at some time by somebody's clock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimelineEntry<'e> {
    /// Microseconds since the epoch.
    pub at: i64,
    /// What.
    pub event: TimelineEvent<'e>,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TimelineEvent<'e> {
    /// The event that the row's order columns show; its T.
    OrderShown,
    /// The event that the row's payment columns show; its T.
    PaymentShown {
        /// The payment.
        payment_id: Option<i64>,
    },
    /// The event in a dead letter; its T.
    Happened {
        /// The dead letter.
        dead_letter: &'e DeadLetterRecord,
    },
    /// It was published.
    Published {
        /// The dead letter.
        dead_letter: &'e DeadLetterRecord,
        /// The subscription it came from.
        subscription: &'e str,
    },
    /// It could not be applied.
    Failed {
        /// The dead letter.
        dead_letter: &'e DeadLetterRecord,
    },
    /// Something was done to a dead letter.
    Done {
        /// The dead letter.
        dead_letter: &'e DeadLetterId,
        /// Its history's line.
        entry: &'e HistoryEntry,
    },
}

impl OrderTimeline {
    /// All of it by time, earliest first.
    pub fn timeline(&self) -> Vec<TimelineEntry<'_>> {
        let mut moments = Vec::new();
        if let Some(fact) = &self.fact {
            let order = fact.order_written_at.map(|t| (t, TimelineEvent::OrderShown));
            let payment = fact
                .payment_written_at
                .map(|t| (t, TimelineEvent::PaymentShown { payment_id: fact.payment.payment_id }));
            moments.extend(
                order.into_iter().chain(payment).map(|(t, event)| TimelineEntry { at: t.micros(), event }),
            );
        }
        for ExplainedDeadLetter { record, published, history, .. } in &self.dead_letters {
            let dead_letter = &record.dead_letter;
            let published = published.iter();
            moments.extend(published.map(|(at, subscription)| TimelineEntry {
                at: *at,
                event: TimelineEvent::Published { dead_letter: record, subscription },
            }));
            moments.push(TimelineEntry {
                at: dead_letter.t.micros(),
                event: TimelineEvent::Happened { dead_letter: record },
            });
            moments.push(TimelineEntry {
                at: dead_letter.first_failed_at,
                event: TimelineEvent::Failed { dead_letter: record },
            });
            moments.extend(history.iter().map(|entry| TimelineEntry {
                at: entry.at,
                event: TimelineEvent::Done { dead_letter: &dead_letter.id, entry },
            }));
        }
        moments.sort_by_key(|moment| moment.at);
        moments
    }
}

impl DeadLetterQueue {
    /// Tells all that is known of an order; `None` where nothing is.
    pub async fn explain(&self, order: OrderId) -> Result<Option<OrderTimeline>, StoreError> {
        let fact = self.facts.fact(order).await?;
        let mut dead_letters: Vec<ExplainedDeadLetter> = self
            .dead_letter_store
            .dead_letters_of(order)
            .take(DEAD_LETTERS + 1)
            .map_ok(|record| self.story(record))
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

    async fn story(&self, record: DeadLetterRecord) -> Result<ExplainedDeadLetter, StoreError> {
        let verdict = assess(self.facts.as_ref(), &record.dead_letter).await?;
        let history = self.dead_letter_store.history(&record.dead_letter.id).await?;
        let next = after_order(&record, verdict);
        let published = published(&record);
        let record = without_body(SelectedDeadLetter { record, verdict: None }).record;
        Ok(ExplainedDeadLetter { record, published, verdict, history, next })
    }
}

/// What a dead letter's attributes say of the message it was.
fn published(record: &DeadLetterRecord) -> Option<(i64, String)> {
    let attributes = &record.dead_letter.attributes;
    let at = DateTime::parse_from_rfc3339(attributes.get("dlq_published_at")?).ok()?;
    let subscription = attributes.get("dlq_source_subscription").unwrap_or_default();
    Some((at.timestamp_micros(), subscription.to_owned()))
}
