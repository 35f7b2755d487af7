//! A payment: validate, look, judge; apply, or say why not.

use std::sync::Arc;

use super::consume::Handler;
use super::dead_letters::{DeadLetters, panicked, rejected};
use super::durable::{Durable, Halt, Retrying};
use super::order_locks::OrderLocks;
use super::settlement::{Settlement, Step};
use ecom_bus::Received;
use ecom_codec::json;
use ecom_domain::reason::Reason;
use ecom_domain::verdict::{Standing, judge};
use ecom_store::FactStore;
use ecom_telemetry::metrics::Operation;

/// Joins payment messages to their orders.
pub struct Payments {
    /// The fact table.
    pub facts: Arc<dyn FactStore>,
    /// Where rejects go.
    pub dead_letters: DeadLetters,
    /// How outages are waited out.
    pub retrying: Arc<Retrying>,
    /// One payment of an order at a time.
    pub locks: OrderLocks,
}

impl Handler for Payments {
    async fn handle(&self, received: &Received, may_hold: bool) -> Result<Step, Halt> {
        let payment = match json::payment(&received.message.body) {
            Ok(payment) => payment,
            Err(rejection) => {
                let settled = self.dead_letters.publish(&self.retrying, received, rejection).await?;
                return Ok(Step::Settled(settled));
            }
        };
        let t = received.event_time();
        let order = payment.order_id;
        let lock = self.locks.lock(order).await;
        let slot =
            self.retrying.storing(Operation::PaymentSlot).read(|| self.facts.payment_slot(order)).await?;
        let rejection = match judge(&slot, &payment, t) {
            Standing::AppliesNow => {
                let durable = self
                    .retrying
                    .storing(Operation::RecordPayment)
                    .write(|| self.facts.record_payment(&payment, t))
                    .await?;
                return Ok(Step::Settled(Settlement::Applied(durable)));
            }
            Standing::AlreadyApplied => {
                return Ok(Step::Settled(Settlement::AlreadyApplied(Durable::seen_in(&slot))));
            }
            Standing::Superseded => {
                return Ok(Step::Settled(Settlement::Superseded(Durable::seen_in(&slot))));
            }
            Standing::StillWaiting if may_hold => return Ok(Step::Hold),
            Standing::StillWaiting => {
                rejected(&payment, Reason::OrderNotFound, format!("order {order} is not in the fact table"))
            }
            Standing::Conflict => {
                let detail =
                    format!("order {order} holds another payment of the same event time {}", t.micros());
                rejected(&payment, Reason::TimestampTie, detail)
            }
        };
        drop(lock);
        let settled = self.dead_letters.publish(&self.retrying, received, rejection).await?;
        Ok(Step::Settled(settled))
    }

    async fn panicked(&self, received: &Received) -> Result<Settlement, Halt> {
        self.dead_letters.publish(&self.retrying, received, panicked()).await
    }
}
