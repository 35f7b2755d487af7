//! One timeline for an order: its row, every letter about it, and what was done to each.

use chrono::DateTime;
use futures_util::{StreamExt, TryStreamExt};

use super::Desk;
use super::list::without_body;
use super::next::{Step, after_order};
use super::selection::Selected;
use ecom_domain::fact::Fact;
use ecom_domain::letter::{HistoryEntry, LetterId, LetterRecord};
use ecom_domain::order::OrderId;
use ecom_domain::verdict::Verdict;
use ecom_pipeline::assess::assess;
use ecom_store::StoreError;

/// Letters of one order that are told of, the newest; more than one order has in a year.
const LETTERS: usize = 500;
/// Letters looked into at once.
const AT_ONCE: usize = 16;

/// A letter about the order, without its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Story {
    /// The letter.
    pub record: LetterRecord,
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
pub struct Explained {
    /// The store, with host or path.
    pub store: String,
    /// When this was read, microseconds since the epoch.
    pub at: i64,
    /// The order.
    pub order: OrderId,
    /// Its row.
    pub fact: Option<Fact>,
    /// The letters about it, newest T first.
    pub letters: Vec<Story>,
    /// Whether there are more, older ones.
    pub more: bool,
}

/// Something that happened, at some time by somebody's clock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moment<'e> {
    /// Microseconds since the epoch.
    pub at: i64,
    /// What.
    pub event: Event<'e>,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event<'e> {
    /// The event that the row's order columns show; its T.
    OrderShown,
    /// The event that the row's payment columns show; its T.
    PaymentShown {
        /// The payment.
        payment_id: Option<i64>,
    },
    /// The event in a letter; its T.
    Happened {
        /// The letter.
        letter: &'e LetterRecord,
    },
    /// It was published.
    Published {
        /// The letter.
        letter: &'e LetterRecord,
        /// The subscription it came from.
        subscription: &'e str,
    },
    /// It could not be applied.
    Failed {
        /// The letter.
        letter: &'e LetterRecord,
    },
    /// Something was done to a letter.
    Done {
        /// The letter.
        letter: &'e LetterId,
        /// Its history's line.
        entry: &'e HistoryEntry,
    },
}

impl Explained {
    /// All of it by time, earliest first.
    pub fn timeline(&self) -> Vec<Moment<'_>> {
        let mut moments = Vec::new();
        if let Some(fact) = &self.fact {
            let order = fact.order_written_at.map(|t| (t, Event::OrderShown));
            let payment = fact
                .payment_written_at
                .map(|t| (t, Event::PaymentShown { payment_id: fact.payment.payment_id }));
            moments
                .extend(order.into_iter().chain(payment).map(|(t, event)| Moment { at: t.micros(), event }));
        }
        for Story { record, published, history, .. } in &self.letters {
            let letter = &record.letter;
            let published = published.iter();
            moments.extend(published.map(|(at, subscription)| Moment {
                at: *at,
                event: Event::Published { letter: record, subscription },
            }));
            moments.push(Moment { at: letter.t.micros(), event: Event::Happened { letter: record } });
            moments.push(Moment { at: letter.first_failed_at, event: Event::Failed { letter: record } });
            moments.extend(
                history
                    .iter()
                    .map(|entry| Moment { at: entry.at, event: Event::Done { letter: &letter.id, entry } }),
            );
        }
        moments.sort_by_key(|moment| moment.at);
        moments
    }
}

impl Desk {
    /// Tells all that is known of an order; `None` where nothing is.
    pub async fn explain(&self, order: OrderId) -> Result<Option<Explained>, StoreError> {
        let fact = self.facts.fact(order).await?;
        let mut letters: Vec<Story> = self
            .ledger
            .letters_of(order)
            .take(LETTERS + 1)
            .map_ok(|record| self.story(record))
            .try_buffered(self.window.clamp(1, AT_ONCE))
            .try_collect()
            .await?;
        if fact.is_none() && letters.is_empty() {
            return Ok(None);
        }
        let more = letters.len() > LETTERS;
        letters.truncate(LETTERS);
        let (store, at) = (self.facts.describe(), self.clock.now_us());
        Ok(Some(Explained { store, at, order, fact, letters, more }))
    }

    async fn story(&self, record: LetterRecord) -> Result<Story, StoreError> {
        let verdict = assess(self.facts.as_ref(), &record.letter).await?;
        let history = self.ledger.history(&record.letter.id).await?;
        let next = after_order(&record, verdict);
        let published = published(&record);
        let record = without_body(Selected { record, verdict: None }).record;
        Ok(Story { record, published, verdict, history, next })
    }
}

/// What a letter's attributes say of the message it was.
fn published(record: &LetterRecord) -> Option<(i64, String)> {
    let attributes = &record.letter.attributes;
    let at = DateTime::parse_from_rfc3339(attributes.get("dlq_published_at")?).ok()?;
    let subscription = attributes.get("dlq_source_subscription").unwrap_or_default();
    Some((at.timestamp_micros(), subscription.to_owned()))
}
