//! What a letter is, and what retrying it would do now: the very functions the consumers apply events
//! by, read-only.

use ecom_codec::json::{self, Rejection};
use ecom_domain::event_time::EventTime;
use ecom_domain::letter::{Kind, Letter};
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;
use ecom_domain::reason::Reason;
use ecom_domain::verdict::{Standing, Verdict, judge, judge_order};
use ecom_store::{FactStore, StoreError};

/// The event in a letter's body.
#[derive(Clone, PartialEq, Debug)]
pub enum Subject<'l> {
    /// An order event.
    Order(Order<'l>),
    /// A payment event.
    Payment(Payment<'l>),
}

impl Subject<'_> {
    /// The order it is about.
    pub fn order_id(&self) -> OrderId {
        match self {
            Self::Order(order) => order.order_id,
            Self::Payment(payment) => payment.order_id,
        }
    }
}

/// The event a letter can be applied as; `None` where it can never be: its body is not one event, or
/// is not what was sent.
pub fn subject(letter: &Letter) -> Option<Subject<'_>> {
    if letter.reason == Reason::PanDetected || !letter.body.is_whole() {
        return None;
    }
    event(letter.kind, &letter.body.bytes).ok()
}

/// The event a body is, by the decoder of the consumers.
pub fn event(kind: Kind, body: &[u8]) -> Result<Subject<'_>, Rejection> {
    match kind {
        Kind::Order => json::order(body).map(Subject::Order),
        Kind::Payment => json::payment(body).map(Subject::Payment),
    }
}

/// What retrying this letter, read with its body, would do now.
pub async fn assess(facts: &dyn FactStore, letter: &Letter) -> Result<Verdict, StoreError> {
    match subject(letter) {
        None => Ok(Verdict::Poison),
        Some(subject) => standing(facts, &subject, letter.t).await.map(Verdict::from),
    }
}

/// How an event at T stands to the row it is about.
pub async fn standing(
    facts: &dyn FactStore,
    subject: &Subject<'_>,
    t: EventTime,
) -> Result<Standing, StoreError> {
    match subject {
        Subject::Payment(payment) => {
            let slot = facts.payment_slot(payment.order_id).await?;
            Ok(judge(&slot, payment, t))
        }
        Subject::Order(order) => {
            let fact = facts.fact(order.order_id).await?;
            let held = fact.as_ref().and_then(|fact| Some((&fact.order, fact.order_written_at?)));
            Ok(judge_order(held, order, t))
        }
    }
}
