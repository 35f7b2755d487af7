//! A payment: validate, look, judge; apply, or say why not.

use std::sync::Arc;

use super::consume::Handler;
use super::dead_letter_publisher::{DeadLetterPublisher, panicked, rejected};
use super::disposition::{Disposition, Handled};
use super::durable::{Durable, Retrier, RoleError};
use super::order_locks::OrderLocks;
use ecom_bus::ReceivedMessage;
use ecom_codec::json;
use ecom_domain::reason::Reason;
use ecom_domain::verdict::{ApplyCheck, judge};
use ecom_store::FactStore;
use ecom_telemetry::metrics::StoreOperation;

/// Joins payment messages to their orders.
pub struct Payments {
    /// The fact table.
    pub facts: Arc<dyn FactStore>,
    /// Where rejects go.
    pub dead_letters: DeadLetterPublisher,
    /// How outages are waited out.
    pub retrier: Arc<Retrier>,
    /// One payment of an order at a time.
    pub locks: OrderLocks,
}

impl Handler for Payments {
    async fn handle(&self, received: &ReceivedMessage, may_buffer: bool) -> Result<Handled, RoleError> {
        let payment = match json::payment(&received.message.body) {
            Ok(payment) => payment,
            Err(rejection) => {
                let settled = self.dead_letters.publish(&self.retrier, received, rejection).await?;
                return Ok(Handled::Settled(settled));
            }
        };
        let t = received.event_time();
        let order = payment.order_id;
        let lock = self.locks.lock(order).await;
        let slot =
            self.retrier.storing(StoreOperation::PaymentSlot).read(|| self.facts.payment_slot(order)).await?;
        let rejection = match judge(&slot, &payment, t) {
            ApplyCheck::AppliesNow => {
                let durable = self
                    .retrier
                    .storing(StoreOperation::RecordPayment)
                    .write(|| self.facts.record_payment(&payment, t))
                    .await?;
                return Ok(Handled::Settled(Disposition::Applied(durable)));
            }
            ApplyCheck::AlreadyApplied => {
                return Ok(Handled::Settled(Disposition::AlreadyApplied(Durable::seen_in(&slot))));
            }
            ApplyCheck::Superseded => {
                return Ok(Handled::Settled(Disposition::Superseded(Durable::seen_in(&slot))));
            }
            ApplyCheck::StillWaiting if may_buffer => return Ok(Handled::AwaitOrder),
            ApplyCheck::StillWaiting => {
                rejected(&payment, Reason::OrderNotFound, format!("order {order} is not in the fact table"))
            }
            ApplyCheck::Conflict => {
                let detail =
                    format!("order {order} holds another payment of the same event time {}", t.micros());
                rejected(&payment, Reason::TimestampTie, detail)
            }
        };
        drop(lock);
        let settled = self.dead_letters.publish(&self.retrier, received, rejection).await?;
        Ok(Handled::Settled(settled))
    }

    async fn panicked(&self, received: &ReceivedMessage) -> Result<Disposition, RoleError> {
        self.dead_letters.publish(&self.retrier, received, panicked()).await
    }
}
