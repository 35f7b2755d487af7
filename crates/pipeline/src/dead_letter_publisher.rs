//! Publishing a message that cannot be applied as a dead letter.

use std::sync::Arc;

use super::disposition::Disposition;
use super::durable::{Retrier, RoleError};
use super::handler::Unapplied;
use ecom_bus::{Publisher, ReceivedMessage};
use ecom_card_numbers::CleanBody;
use ecom_clock::Clock;
use ecom_codec::Rejection;
use ecom_codec::envelope::{self, DeliveryFailure};
use ecom_codec::screen::{ScreenedBody, screen};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_telemetry::metrics::{RoleMetrics, Topic};

/// The detail of a message whose handler panicked.
pub const PANICKED: &str = "the handler panicked on this message; its log says where";

/// Publishes the dead letters of one source subscription.
pub struct DeadLetterPublisher {
    /// The dead-letter topic.
    pub publisher: Arc<dyn Publisher>,
    /// The kind of events the source carries.
    pub kind: EventKind,
    /// The source subscription's short name.
    pub subscription: String,
    /// Wall time, for `dlq_first_failed_at`.
    pub clock: Clock,
    /// Counts dead letters by reason.
    pub metrics: Arc<RoleMetrics>,
}

impl DeadLetterPublisher {
    /// Publishes the dead letter and waits until the bus has acknowledged it, through outages. A masked body
    /// makes it `pan_detected`, whatever it was rejected for.
    pub async fn publish(
        &self,
        retrier: &Retrier,
        received: &ReceivedMessage,
        rejection: &Rejection,
        body: ScreenedBody<'_>,
    ) -> Result<Disposition, RoleError> {
        let failure = DeliveryFailure {
            reason: rejection.reason,
            detail: &rejection.detail,
            kind: self.kind,
            source_subscription: &self.subscription,
            order_id: rejection.order_id,
            payment_id: rejection.payment_id,
            failed_at: self.clock.now_us(),
        };
        let (reason, message) = envelope::encode(received, body, &failure);
        let durable =
            retrier.publishing(Topic::DeadLetters).publish(self.publisher.as_ref(), &message).await?;
        self.metrics.dead_lettered(reason);
        Ok(Disposition::DeadLettered(reason, durable))
    }

    /// Publishes the dead letter of a message that its handler could not finish. The body is screened here
    /// unless it is known to be clean.
    pub async fn publish_unapplied(
        &self,
        retrier: &Retrier,
        received: &ReceivedMessage,
        clean: Option<&CleanBody<'_>>,
        cause: Unapplied,
        order_id: Option<OrderId>,
        payment_id: Option<i64>,
    ) -> Result<Disposition, RoleError> {
        let (reason, detail) = match (cause, order_id) {
            (Unapplied::Panicked, _) => (Reason::HandlerFailed, PANICKED.to_owned()),
            (Unapplied::OrderMissing, Some(order_id)) => {
                (Reason::OrderNotFound, format!("order {order_id} is not in the fact table"))
            }
            (Unapplied::OrderMissing, None) => {
                (Reason::OrderNotFound, "its order is not in the fact table".to_owned())
            }
        };
        let rejection = Rejection { reason, detail, order_id, payment_id };
        let body = match clean {
            Some(body) => ScreenedBody::Clean(body.clone()),
            None => screen(&received.message.body),
        };
        self.publish(retrier, received, &rejection, body).await
    }
}
