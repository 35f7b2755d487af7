//! Checking what applying an event would do now. Retries and predicted verdicts share it.

use super::durable::{Retrier, RoleError};
use super::payments::record_superseded;
use ecom_codec::event::{self, Event};
use ecom_domain::dead_letter::DeadLetter;
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::SupersededPayment;
use ecom_domain::reason::Reason;
use ecom_domain::verdict::{ApplyCheck, Verdict, judge, judge_order};
use ecom_store::{FactStore, StoreError};

/// The event of a dead letter; `None` where it can never be applied, because its body is not an event, was
/// masked or was cut.
pub fn subject(dead_letter: &DeadLetter) -> Option<Event<'_>> {
    if dead_letter.reason == Reason::PanDetected || !dead_letter.body.is_whole() {
        return None;
    }
    event::decode(dead_letter.kind, &dead_letter.body.bytes).ok()
}

/// The verdict on retrying a dead letter now; it must have been read with its body.
pub async fn assess(facts: &dyn FactStore, dead_letter: &DeadLetter) -> Result<Verdict, StoreError> {
    match subject(dead_letter) {
        None => Ok(Verdict::Poison),
        Some(subject) => apply_check(facts, &subject, dead_letter.t).await.map(Verdict::from),
    }
}

/// The verdict on a dead letter that is about to be closed. A payment that a newer one supersedes is recorded before
/// that.
pub async fn assess_to_close(
    retrier: &Retrier,
    facts: &dyn FactStore,
    dead_letter: &DeadLetter,
) -> Result<Verdict, RoleError> {
    let Some(subject) = subject(dead_letter) else { return Ok(Verdict::Poison) };
    let (check, loser) = retrier.read(|| compare(facts, &subject, dead_letter.t)).await?;
    if let (ApplyCheck::Superseded, Some(loser)) = (check, loser) {
        record_superseded(retrier, facts, &loser).await?;
    }
    Ok(check.into())
}

/// Checks an event at T against its row.
pub async fn apply_check(
    facts: &dyn FactStore,
    subject: &Event<'_>,
    t: EventTime,
) -> Result<ApplyCheck, StoreError> {
    compare(facts, subject, t).await.map(|(check, _)| check)
}

/// Checks an event at T against its row; also returns the older one of two payments, which loses.
pub(super) async fn compare(
    facts: &dyn FactStore,
    subject: &Event<'_>,
    t: EventTime,
) -> Result<(ApplyCheck, Option<SupersededPayment>), StoreError> {
    match subject {
        Event::Payment(payment) => {
            let slot = facts.payment_slot(payment.order_id).await?;
            Ok((judge(&slot, payment, t), SupersededPayment::loser(&slot, payment, t)))
        }
        Event::Order(order) => {
            let fact = facts.fact(order.order_id).await?;
            let written = fact.as_ref().and_then(|fact| Some((&fact.order, fact.order_written_at?)));
            Ok((judge_order(written, order, t), None))
        }
    }
}
