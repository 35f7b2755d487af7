//! Taking a payment through its states.

use std::time::Duration;

use super::processor::PaymentProcessor;
use ecom_clock::micros;
use ecom_pipeline::durable::{Durable, RoleError};
use ecom_shop_domain::gateway::ChargeOutcome;
use ecom_shop_domain::payment::{PaymentRecord, PaymentState};
use ecom_shop_store::ReadGuarantee;

/// The error of a transaction that is processed too late.
const TOO_LATE: &str = "it was not processed in time, and nothing was charged";
/// The longest wait for an answer of the gateway.
const GATEWAY_TIMEOUT: Duration = Duration::from_secs(30);
/// The wait before the gateway is asked again.
const GATEWAY_RETRY: Duration = Duration::from_secs(5);

impl PaymentProcessor {
    /// Takes a payment to its final state, and returns the proof; `None` if there is no such payment. A payment of an order
    /// is processed with its order.
    pub async fn process_payment(&self, payment_id: i64) -> Result<Option<Durable>, RoleError> {
        let read = || self.payments.payment(payment_id, ReadGuarantee::Linearizable);
        let (Some(payment), durable) = self.retrier.evidence(read).await? else { return Ok(None) };
        if let Some((order_id, _)) = payment.of_order {
            return self.process_order(order_id, false).await;
        }
        let is_late = payment.due_at.is_some_and(|due_at| self.clock.now_us() >= due_at);
        self.finish_payment(payment, is_late.then_some(TOO_LATE)).await?;
        Ok(Some(durable))
    }

    /// Takes a payment to its final state: charges it, or fails it for the cause `refused` if it is still pending.
    pub(super) async fn finish_payment(
        &self,
        mut payment: PaymentRecord,
        refused: Option<&str>,
    ) -> Result<PaymentRecord, RoleError> {
        loop {
            self.events.publish_payment(&payment).await?;
            let next = match (payment.state, refused) {
                (PaymentState::Completed | PaymentState::Failed, _) => return Ok(payment),
                (PaymentState::Pending, Some(cause)) => payment.failed(self.clock.now_us(), cause.to_owned()),
                (PaymentState::Pending, None) => payment.processing(&self.policy, self.clock.now_us()),
                (PaymentState::Processing, _) => {
                    self.wait_until(payment.state_at.saturating_add(micros(self.payment_delay))).await;
                    match self.charge(&payment).await {
                        ChargeOutcome::Completed => payment.completed(self.clock.now_us()),
                        ChargeOutcome::Failed(cause) => payment.failed(self.clock.now_us(), cause),
                    }
                }
            };
            let stands = self.retrier.read(|| self.payments.move_payment(&next)).await?;
            // A record that was deleted by hand is as the move left it.
            payment = stands.unwrap_or(next);
        }
    }

    async fn wait_until(&self, at: i64) {
        let left = u64::try_from(at.saturating_sub(self.clock.now_us())).unwrap_or_default();
        tokio::time::sleep(Duration::from_micros(left)).await;
    }

    /// Charges a payment. While the outcome is unknown the payment stays in processing, and the gateway is asked again.
    async fn charge(&self, payment: &PaymentRecord) -> ChargeOutcome {
        loop {
            match tokio::time::timeout(GATEWAY_TIMEOUT, self.gateway.charge(payment)).await {
                Ok(Ok(outcome)) => return outcome,
                Ok(Err(error)) => tracing::warn!("{error}; asking again until it answers"),
                Err(_) => tracing::warn!(
                    "could not charge payment {}: no answer within {GATEWAY_TIMEOUT:?}; asking again until there is one",
                    payment.payment_id
                ),
            }
            tokio::time::sleep(GATEWAY_RETRY).await;
        }
    }
}
