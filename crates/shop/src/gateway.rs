//! The port of the payment gateway, and the simulated one.

use async_trait::async_trait;

use ecom_shop_domain::gateway::{ChargeOutcome, simulated};
use ecom_shop_domain::payment::PaymentRecord;

/// A payment method whose charge is never answered, for tests.
const NEVER_ANSWERED: &str = "Test: hang";

/// A payment gateway.
#[async_trait]
pub trait PaymentGateway: Send + Sync {
    /// Charges a payment, or returns the outcome of the charge that was made before: the id of the payment is its
    /// idempotency key.
    ///
    /// # Errors
    /// The outcome is unknown: call it again with the same payment.
    async fn charge(&self, payment: &PaymentRecord) -> Result<ChargeOutcome, GatewayError>;
}

/// The gateway did not answer, so it is unknown whether the payment was charged.
#[derive(thiserror::Error, Debug)]
#[error("could not charge payment {payment_id}: {cause}")]
pub struct GatewayError {
    /// The payment.
    pub payment_id: i64,
    /// The cause.
    pub cause: String,
}

/// A gateway that charges nobody: its outcomes are a pure function of a seed and the id of the payment.
#[derive(Clone, Copy, Debug)]
pub struct SimulatedGateway {
    /// The seed of the outcomes.
    pub seed: u64,
    /// The share of payments that are completed, 0 to 1.
    pub success_rate: f64,
}

#[async_trait]
impl PaymentGateway for SimulatedGateway {
    async fn charge(&self, payment: &PaymentRecord) -> Result<ChargeOutcome, GatewayError> {
        if payment.payment_method.as_deref() == Some(NEVER_ANSWERED) {
            let cause = "the simulated gateway does not answer this method".to_owned();
            return Err(GatewayError { payment_id: payment.payment_id, cause });
        }
        Ok(simulated(payment, self.seed, self.success_rate))
    }
}
