//! The requests topic: each message points to an order or a payment to process.

use std::sync::Arc;

use super::processor::PaymentProcessor;
use ecom_bus::ReceivedMessage;
use ecom_codec::Rejection;
use ecom_codec::event::RejectedBody;
use ecom_codec::screen::{ScreenedBody, screen};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_pipeline::dead_letter_publisher::DeadLetterPublisher;
use ecom_pipeline::disposition::Disposition;
use ecom_pipeline::durable::{Durable, RoleError};
use ecom_pipeline::handler::{Applied, Decoded, Handler, Unapplied};
use ecom_shop_domain::request::ProcessingRequest;

/// Processes what the messages of the requests topic point to. A message that is no request, or that points to nothing,
/// becomes a dead letter.
pub struct Requests {
    /// The payment processor.
    pub processor: Arc<PaymentProcessor>,
    /// The dead-letter topic.
    pub dead_letters: DeadLetterPublisher,
}

impl PaymentProcessor {
    /// Processes the order or the payment of a request; `None` if there is none.
    pub async fn process(&self, request: ProcessingRequest) -> Result<Option<Durable>, RoleError> {
        match request {
            ProcessingRequest::OrderId(id) => self.process_order(OrderId(id), false).await,
            ProcessingRequest::CancelOrderId(id) => self.process_order(OrderId(id), true).await,
            ProcessingRequest::PaymentId(id) => self.process_payment(id).await,
        }
    }
}

impl Requests {
    async fn reject(
        &self,
        received: &ReceivedMessage,
        rejected: &RejectedBody<'_>,
    ) -> Result<Disposition, RoleError> {
        let RejectedBody { rejection, body } = rejected;
        self.dead_letters.publish(&self.processor.retrier, received, rejection, body.clone()).await
    }
}

impl Handler for Requests {
    type Event<'m> = Result<ProcessingRequest, RejectedBody<'m>>;

    fn decode<'m>(&self, received: &'m ReceivedMessage) -> Decoded<Self::Event<'m>> {
        let event = decode(received);
        let order_id = event.as_ref().ok().and_then(|request| request.order_id());
        Decoded { t: received.event_time(), order_id, event }
    }

    fn into_owned(event: Self::Event<'_>) -> Self::Event<'static> {
        event.map_err(RejectedBody::into_owned)
    }

    async fn apply(
        &self,
        received: &ReceivedMessage,
        decoded: &Decoded<Self::Event<'_>>,
    ) -> Result<Applied, RoleError> {
        let request = match &decoded.event {
            Ok(request) => *request,
            Err(rejected) => return self.reject(received, rejected).await.map(Applied::Done),
        };
        if let Some(durable) = self.processor.process(request).await? {
            return Ok(Applied::Done(Disposition::Applied(durable)));
        }
        let detail = "there is no order or payment with this id".to_owned();
        let rejection = rejection(Reason::Invalid, detail, Some(request));
        let rejected = RejectedBody { rejection, body: screen(&received.message.body) };
        self.reject(received, &rejected).await.map(Applied::Done)
    }

    async fn dead_letter(
        &self,
        received: &ReceivedMessage,
        decoded: Option<&Decoded<Self::Event<'_>>>,
        cause: Unapplied,
    ) -> Result<Disposition, RoleError> {
        let order_id = decoded.and_then(|decoded| decoded.order_id);
        let retrier = &self.processor.retrier;
        self.dead_letters.publish_unapplied(retrier, received, None, cause, order_id, None).await
    }
}

fn decode(received: &ReceivedMessage) -> Result<ProcessingRequest, RejectedBody<'_>> {
    let request = ProcessingRequest::decode(&received.message.body);
    match (screen(&received.message.body), request) {
        (ScreenedBody::Clean(_), Ok(request)) => Ok(request),
        (body @ ScreenedBody::Clean(_), Err(cause)) => {
            Err(RejectedBody { rejection: rejection(Reason::Invalid, cause, None), body })
        }
        (ScreenedBody::Masked { body, detail }, request) => {
            let rejection = rejection(Reason::PanDetected, detail.clone(), request.ok());
            Err(RejectedBody { rejection, body: ScreenedBody::Masked { body, detail } })
        }
    }
}

fn rejection(reason: Reason, detail: String, request: Option<ProcessingRequest>) -> Rejection {
    let payment_id = match request {
        Some(ProcessingRequest::PaymentId(id)) => Some(id),
        _ => None,
    };
    Rejection { reason, detail, order_id: request.and_then(ProcessingRequest::order_id), payment_id }
}
