//! From a message that cannot be applied to a dead letter with a receipt.

use std::sync::Arc;

use super::disposition::Disposition;
use super::durable::{Retrier, RoleError};
use ecom_bus::{Publisher, ReceivedMessage};
use ecom_clock::Clock;
use ecom_codec::Rejection;
use ecom_codec::envelope::{self, DeliveryFailure};
use ecom_codec::screen::screen;
use ecom_domain::dead_letter::EventKind;
use ecom_domain::payment::Payment;
use ecom_domain::reason::Reason;
use ecom_telemetry::metrics::{RoleMetrics, Topic};

/// Publishes dead letters of one source subscription.
pub struct DeadLetterPublisher {
    /// The dead-letter topic.
    pub publisher: Arc<dyn Publisher>,
    /// What the source carries.
    pub kind: EventKind,
    /// The source subscription, short name.
    pub subscription: String,
    /// For `dlq_first_failed_at`.
    pub clock: Clock,
    /// Counts dead letters by reason.
    pub metrics: Arc<RoleMetrics>,
}

impl DeadLetterPublisher {
    /// Publishes the dead letter and waits for its receipt, through outages. The body is masked where
    /// it holds a card number, whatever it is rejected for.
    pub async fn publish(
        &self,
        retrier: &Retrier,
        received: &ReceivedMessage,
        rejection: Rejection,
    ) -> Result<Disposition, RoleError> {
        let failure = DeliveryFailure {
            reason: rejection.reason,
            detail: rejection.detail,
            kind: self.kind,
            source_subscription: self.subscription.clone(),
            order_id: rejection.order_id,
            payment_id: rejection.payment_id,
            failed_at: self.clock.now_us(),
        };
        let body = screen(&received.message.body);
        let (reason, message) = envelope::encode(received, body, &failure);
        let durable =
            retrier.publishing(Topic::DeadLetters).publish(self.publisher.as_ref(), &message).await?;
        self.metrics.dead_lettered(reason);
        Ok(Disposition::DeadLettered(reason, durable))
    }
}

/// The rejection of a sound payment for a reason outside its body.
pub fn rejected(payment: &Payment<'_>, reason: Reason, detail: String) -> Rejection {
    Rejection { reason, detail, order_id: Some(payment.order_id), payment_id: Some(payment.payment_id) }
}

/// The rejection of a message whose handler panicked.
pub fn panicked() -> Rejection {
    Rejection {
        reason: Reason::HandlerFailed,
        detail: "the handler panicked on this message; its log has the place".to_owned(),
        order_id: None,
        payment_id: None,
    }
}
