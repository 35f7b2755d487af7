//! Publishing the events that report the states of orders and payments, and the requests to confirm orders.

use std::sync::Arc;

use bytes::Bytes;

use ecom_bus::{Attributes, Message, Publisher};
use ecom_codec::body::{self, NoCard};
use ecom_pipeline::durable::{Durable, Retrier, RoleError};
use ecom_shop_domain::event;
use ecom_shop_domain::notice::NoticeRequest;
use ecom_shop_domain::order::OrderRecord;
use ecom_shop_domain::payment::PaymentRecord;
use ecom_telemetry::metrics::Topic;

/// Publishes events on the source topics of the pipeline, and requests on the notices topic.
pub struct EventPublisher {
    /// The topic of order events.
    pub orders: Arc<dyn Publisher>,
    /// The topic of payment events.
    pub payments: Arc<dyn Publisher>,
    /// The topic of the requests to confirm orders.
    pub notices: Arc<dyn Publisher>,
    /// Retries calls through outages.
    pub retrier: Arc<Retrier>,
}

impl EventPublisher {
    /// Publishes the event that reports the state of an order, and waits until the bus has acknowledged it, through
    /// outages. `None` if no event reports its state.
    pub async fn publish_order(&self, order: &OrderRecord) -> Result<Option<Durable>, RoleError> {
        let Some(message) = order_message(order) else { return Ok(None) };
        let publishing = self.retrier.publishing(Topic::Orders);
        publishing.publish(self.orders.as_ref(), &message).await.map(Some)
    }

    /// Publishes the event that reports the state of a payment. `None` if it pays no order.
    pub async fn publish_payment(&self, payment: &PaymentRecord) -> Result<Option<Durable>, RoleError> {
        let Some(message) = payment_message(payment) else { return Ok(None) };
        let publishing = self.retrier.publishing(Topic::Payments);
        publishing.publish(self.payments.as_ref(), &message).await.map(Some)
    }

    /// Publishes the request to confirm a paid order, and waits until the bus has acknowledged it, through outages. `None` if
    /// there is nothing to ask for: the order is not paid, or something stands about its confirmation already.
    pub async fn publish_notice(&self, order: &OrderRecord) -> Result<Option<Durable>, RoleError> {
        if !order.state.is_paid() || order.notice.is_some() {
            return Ok(None);
        }
        let body = NoticeRequest::confirmed(order.order_id).encode().into();
        let message = Message { body, ..Message::default() };
        self.retrier.publish(self.notices.as_ref(), &message).await.map(Some)
    }
}

/// Returns the message that reports the state of an order; `None` if none does. It is the same at every call.
pub fn order_message(order: &OrderRecord) -> Option<Message> {
    let body = body::order(&event::of_order(order));
    order.state.is_published().then(|| message(body, order.order_id.0, order.state.as_str(), order.state_at))
}

/// Returns the message that reports the state of a payment; `None` if it pays no order. It is the same at every call.
pub fn payment_message(payment: &PaymentRecord) -> Option<Message> {
    let body = body::payment(&event::of_payment(payment)?, NoCard::Null);
    Some(message(body, payment.payment_id, payment.state.as_str(), payment.state_at))
}

fn message(body: Bytes, record_id: i64, state: &str, state_at: i64) -> Message {
    let millis = u64::try_from(state_at / 1_000).unwrap_or_default();
    let id = event::id_bytes(record_id, state, state_at);
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &id).into_uuid();
    let attributes = Attributes::from_iter([
        ("event_id", id.hyphenated().to_string()),
        ("event_time_us", state_at.to_string()),
    ]);
    Message { body, attributes }
}
