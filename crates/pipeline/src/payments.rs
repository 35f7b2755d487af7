//! Payment events: validate, read the row, judge; record the payment that loses, if there are two; write the
//! payment columns, or say why not.

use std::sync::Arc;

use super::dead_letter_publisher::DeadLetterPublisher;
use super::disposition::Disposition;
use super::durable::{Durable, Retrier, RoleError};
use super::handler::{Applied, Decoded, Handler, Unapplied};
use super::order_locks::OrderLocks;
use ecom_bus::ReceivedMessage;
use ecom_codec::Rejection;
use ecom_codec::event::{self, RejectedBody, SourceEvent};
use ecom_codec::screen::ScreenedBody;
use ecom_domain::fact::SupersededPayment;
use ecom_domain::payment::Payment;
use ecom_domain::reason::Reason;
use ecom_domain::verdict::{ApplyCheck, judge};
use ecom_store::FactStore;
use ecom_telemetry::metrics::StoreOperation;

/// Records a payment that a newer one of its order supersedes, through outages.
pub(super) async fn record_superseded(
    retrier: &Retrier,
    facts: &dyn FactStore,
    superseded: &SupersededPayment,
) -> Result<(), RoleError> {
    let storing = retrier.storing(StoreOperation::RecordSuperseded);
    storing.write(|| facts.record_superseded(superseded)).await.map(drop)
}

/// Joins payment events to their orders.
pub struct Payments {
    /// The fact table.
    pub facts: Arc<dyn FactStore>,
    /// The dead-letter topic.
    pub dead_letters: DeadLetterPublisher,
    /// Retries calls through outages.
    pub retrier: Arc<Retrier>,
    /// Serialises the payments of an order within the process.
    pub locks: OrderLocks,
}

impl Handler for Payments {
    type Event<'m> = SourceEvent<'m, Payment<'m>>;

    #[inline]
    fn decode<'m>(&self, received: &'m ReceivedMessage) -> Decoded<Self::Event<'m>> {
        let event = event::payment(&received.message.body);
        let order_id = match &event {
            Ok(payment) => Some(payment.event.order_id),
            Err(rejected) => rejected.rejection.order_id,
        };
        Decoded { t: received.event_time(), order_id, event }
    }

    fn into_owned(event: Self::Event<'_>) -> Self::Event<'static> {
        event.map(|payment| payment.into_owned(Payment::into_owned)).map_err(RejectedBody::into_owned)
    }

    async fn apply(
        &self,
        received: &ReceivedMessage,
        decoded: &Decoded<Self::Event<'_>>,
    ) -> Result<Applied, RoleError> {
        let Decoded { t, event, .. } = decoded;
        let (payment, body) = match event {
            Ok(payment) => (&payment.event, &payment.body),
            Err(rejected) => {
                let RejectedBody { rejection, body } = rejected;
                let published = self.dead_letters.publish(&self.retrier, received, rejection, body.clone());
                return published.await.map(Applied::Done);
            }
        };
        let order = payment.order_id;
        let lock = self.locks.lock(order).await;
        let reading = self.retrier.storing(StoreOperation::PaymentSlot);
        let slot = reading.read(|| self.facts.payment_slot(order)).await?;
        // The loser is durable before the winner replaces it, and before its own ack.
        if let Some(loser) = SupersededPayment::loser(&slot, payment, *t) {
            Box::pin(record_superseded(&self.retrier, self.facts.as_ref(), &loser)).await?;
        }
        let disposition = match judge(&slot, payment, *t) {
            ApplyCheck::AppliesNow => {
                let storing = self.retrier.storing(StoreOperation::RecordPayment);
                Disposition::Applied(storing.write(|| self.facts.record_payment(payment, *t)).await?)
            }
            ApplyCheck::AlreadyApplied => Disposition::AlreadyApplied(Durable::seen_in(&slot)),
            ApplyCheck::Superseded => Disposition::Superseded(Durable::seen_in(&slot)),
            ApplyCheck::StillWaiting => return Ok(Applied::AwaitOrder),
            ApplyCheck::Conflict => {
                drop(lock);
                let rejection = Rejection {
                    reason: Reason::TimestampTie,
                    detail: format!(
                        "order {order} has another payment with the same event time {}",
                        t.micros()
                    ),
                    order_id: Some(order),
                    payment_id: Some(payment.payment_id),
                };
                let body = ScreenedBody::Clean(body.clone());
                self.dead_letters.publish(&self.retrier, received, &rejection, body).await?
            }
        };
        Ok(Applied::Done(disposition))
    }

    async fn apply_together<'e>(
        &self,
        group: &[(&ReceivedMessage, &Decoded<Self::Event<'e>>)],
    ) -> Vec<Option<Applied>> {
        let mut results: Vec<_> = group.iter().map(|_| None).collect();
        // Payments of an order that has another one under way are applied alone, one after the other.
        let mut locks = Vec::with_capacity(group.len());
        let mut members = Vec::with_capacity(group.len());
        for (index, (_, decoded)) in group.iter().enumerate() {
            if let Ok(payment) = &decoded.event
                && let Some(lock) = self.locks.try_lock(payment.event.order_id)
            {
                locks.push(lock);
                members.push((index, &payment.event, decoded.t));
            }
        }
        let orders: Vec<_> = members.iter().map(|(_, payment, _)| payment.order_id).collect();
        let reading = self.retrier.storing(StoreOperation::PaymentSlot);
        let is_member = |place| members.iter().any(|(member, ..)| *member == place);
        let slots = reading.try_read(self.facts.payment_slots(&orders), is_member).await;
        let Some(slots) = slots else { return results };
        let (mut writers, mut payments) = (Vec::new(), Vec::new());
        for ((index, payment, t), slot) in members.into_iter().zip(&slots) {
            // A payment that supersedes another, or is superseded, has one to record first.
            if SupersededPayment::loser(slot, payment, t).is_some() {
                continue;
            }
            results[index] = match judge(slot, payment, t) {
                ApplyCheck::AppliesNow => {
                    writers.push(index);
                    payments.push((payment, t));
                    None
                }
                ApplyCheck::AlreadyApplied => {
                    Some(Applied::Done(Disposition::AlreadyApplied(Durable::seen_in(slot))))
                }
                ApplyCheck::Superseded => {
                    Some(Applied::Done(Disposition::Superseded(Durable::seen_in(slot))))
                }
                ApplyCheck::StillWaiting => Some(Applied::AwaitOrder),
                ApplyCheck::Conflict => None,
            };
        }
        if !payments.is_empty() {
            let storing = self.retrier.storing(StoreOperation::RecordPayment);
            let writing = self.facts.record_payments(&payments);
            let durable = storing.try_write(writing, |place| writers.contains(&place)).await;
            for index in writers {
                let durable = durable.clone();
                results[index] = durable.map(|durable| Applied::Done(Disposition::Applied(durable)));
            }
        }
        results
    }

    fn group_size(&self) -> usize {
        self.facts.group_size()
    }

    async fn dead_letter(
        &self,
        received: &ReceivedMessage,
        decoded: Option<&Decoded<Self::Event<'_>>>,
        cause: Unapplied,
    ) -> Result<Disposition, RoleError> {
        let order_id = decoded.and_then(|decoded| decoded.order_id);
        let payment = decoded.and_then(|decoded| decoded.event.as_ref().ok());
        let (clean, payment_id) = payment.map(|known| (&known.body, known.event.payment_id)).unzip();
        self.dead_letters.publish_unapplied(&self.retrier, received, clean, cause, order_id, payment_id).await
    }
}
