//! What a dead letter is, and what retrying it would do now: the very functions the consumers apply events
//! by, read-only.

use ecom_codec::Rejection;
use ecom_codec::json;
use ecom_domain::dead_letter::{DeadLetter, EventKind};
use ecom_domain::event_time::EventTime;
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;
use ecom_domain::reason::Reason;
use ecom_domain::verdict::{ApplyCheck, Verdict, judge, judge_order};
use ecom_store::{FactStore, StoreError};

/// The event in a dead letter's body.
#[derive(Clone, PartialEq, Debug)]
pub enum Event<'l> {
    /// An order event.
    Order(Order<'l>),
    /// A payment event.
    Payment(Payment<'l>),
}

impl Event<'_> {
    /// The order it is about.
    pub fn order_id(&self) -> OrderId {
        match self {
            Self::Order(order) => order.order_id,
            Self::Payment(payment) => payment.order_id,
        }
    }
}

/// The event a dead letter can be applied as; `None` where it can never be: its body is not one event, or
/// is not what was sent.
pub fn subject(dead_letter: &DeadLetter) -> Option<Event<'_>> {
    if dead_letter.reason == Reason::PanDetected || !dead_letter.body.is_whole() {
        return None;
    }
    event(dead_letter.kind, &dead_letter.body.bytes).ok()
}

/// The event a body is, by the decoder of the consumers.
pub fn event(kind: EventKind, body: &[u8]) -> Result<Event<'_>, Rejection> {
    match kind {
        EventKind::Order => json::order(body).map(Event::Order),
        EventKind::Payment => json::payment(body).map(Event::Payment),
    }
}

/// What retrying this dead letter, read with its body, would do now.
pub async fn assess(facts: &dyn FactStore, dead_letter: &DeadLetter) -> Result<Verdict, StoreError> {
    match subject(dead_letter) {
        None => Ok(Verdict::Poison),
        Some(subject) => apply_check(facts, &subject, dead_letter.t).await.map(Verdict::from),
    }
}

/// How an event at T stands to the row it is about.
pub async fn apply_check(
    facts: &dyn FactStore,
    subject: &Event<'_>,
    t: EventTime,
) -> Result<ApplyCheck, StoreError> {
    match subject {
        Event::Payment(payment) => {
            let slot = facts.payment_slot(payment.order_id).await?;
            Ok(judge(&slot, payment, t))
        }
        Event::Order(order) => {
            let fact = facts.fact(order.order_id).await?;
            let held = fact.as_ref().and_then(|fact| Some((&fact.order, fact.order_written_at?)));
            Ok(judge_order(held, order, t))
        }
    }
}
