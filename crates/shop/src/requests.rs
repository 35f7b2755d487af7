//! The requests topic: each message points to an order or a payment to process.

use std::sync::Arc;

use super::processor::PaymentProcessor;
use ecom_bus::ReceivedMessage;
use ecom_codec::Rejection;
use ecom_codec::event::{CleanEvent, RejectedBody, SourceEvent, screened};
use ecom_codec::screen::ScreenedBody;
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

impl Handler for Requests {
    type Event<'m> = SourceEvent<'m, ProcessingRequest>;

    fn decode<'m>(&self, received: &'m ReceivedMessage) -> Decoded<Self::Event<'m>> {
        let body = &received.message.body;
        let request = ProcessingRequest::decode(body).map_err(|cause| invalid(cause, None));
        let event = screened(body, request, |request| (request.order_id(), request.payment_id()));
        let order_id = event.as_ref().ok().and_then(|request| request.event.order_id());
        Decoded { t: received.event_time(), order_id, event }
    }

    fn into_owned(event: Self::Event<'_>) -> Self::Event<'static> {
        event.map(|request| request.into_owned(|request| request)).map_err(RejectedBody::into_owned)
    }

    async fn apply(
        &self,
        received: &ReceivedMessage,
        decoded: &Decoded<Self::Event<'_>>,
    ) -> Result<Applied, RoleError> {
        let (rejection, body) = match &decoded.event {
            Ok(CleanEvent { event: request, body }) => match self.processor.process(*request).await? {
                Some(durable) => return Ok(Applied::Done(Disposition::Applied(durable))),
                None => {
                    let detail = "there is no order or payment with this id".to_owned();
                    (invalid(detail, Some(*request)), ScreenedBody::Clean(body.clone()))
                }
            },
            Err(RejectedBody { rejection, body }) => (rejection.clone(), body.clone()),
        };
        let published = self.dead_letters.publish(&self.processor.retrier, received, &rejection, body);
        published.await.map(Applied::Done)
    }

    async fn dead_letter(
        &self,
        received: &ReceivedMessage,
        decoded: Option<&Decoded<Self::Event<'_>>>,
        cause: Unapplied,
    ) -> Result<Disposition, RoleError> {
        let order_id = decoded.and_then(|decoded| decoded.order_id);
        let clean = decoded.and_then(|decoded| decoded.event.as_ref().ok()).map(|request| &request.body);
        let retrier = &self.processor.retrier;
        self.dead_letters.publish_unapplied(retrier, received, clean, cause, order_id, None).await
    }
}

fn invalid(detail: String, request: Option<ProcessingRequest>) -> Rejection {
    Rejection {
        reason: Reason::Invalid,
        detail,
        order_id: request.and_then(ProcessingRequest::order_id),
        payment_id: request.and_then(ProcessingRequest::payment_id),
    }
}
