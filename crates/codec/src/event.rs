//! The events of the source topics, by kind: which decoder reads a body, and what all kinds have in common.
//!
//! A new kind begins as a variant of [`EventKind`] and of [`Event`]. Every place that has to know it matches
//! exhaustively, so the compiler lists them: the decoder here, `Topic` (metric label), the topic and
//! subscription in the configuration, the store's write and its check, and the handler that applies it.

use bytes::Bytes;

use crate::json;
use crate::rejection::Rejection;
use crate::screen::{ScreenedBody, screen};
use ecom_card_numbers::CleanBody;
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;

/// An event of a source topic.
#[derive(Clone, PartialEq, Debug)]
pub enum Event<'m> {
    /// An order event.
    Order(Order<'m>),
    /// A payment event.
    Payment(Payment<'m>),
}

impl Event<'_> {
    /// The order it belongs to.
    pub fn order_id(&self) -> OrderId {
        match self {
            Self::Order(order) => order.order_id,
            Self::Payment(payment) => payment.order_id,
        }
    }

    /// The payment's id; `None` for other events.
    pub fn payment_id(&self) -> Option<i64> {
        match self {
            Self::Order(_) => None,
            Self::Payment(payment) => Some(payment.payment_id),
        }
    }
}

/// Decodes a body as an event of this kind. A body with a card number in it is rejected as `pan_detected`.
pub fn decode(kind: EventKind, body: &[u8]) -> Result<Event<'_>, Rejection> {
    match kind {
        EventKind::Order => json::order(body).map(Event::Order),
        EventKind::Payment => json::payment(body).map(Event::Payment),
    }
}

/// Decodes a body whose card numbers are looked for elsewhere.
pub(crate) fn read(kind: EventKind, body: &[u8]) -> Result<Event<'_>, Rejection> {
    match kind {
        EventKind::Order => json::read_order(body).map(Event::Order),
        EventKind::Payment => json::read_payment(body).map(Event::Payment),
    }
}

/// The rejection of a body with a card number in it, with the ids that could be read all the same.
pub(crate) fn pan_detected(detail: String, event: Result<Event<'_>, Rejection>) -> Rejection {
    json::pan_detected(detail, event.map(|event| (Some(event.order_id()), event.payment_id())))
}

/// A decoded event and its body, which holds no card number and may leave the consumer as it is.
#[derive(Clone, PartialEq, Debug)]
pub struct CleanEvent<'m, E> {
    /// The event.
    pub event: E,
    /// Its body.
    pub body: CleanBody<'m>,
}

/// A body that is not an event of the expected kind, ready to be dead-lettered.
#[derive(Clone, PartialEq, Debug)]
pub struct RejectedBody<'m> {
    /// The reason and the ids that could be read.
    pub rejection: Rejection,
    /// The body as it may leave the consumer: masked where it holds a card number.
    pub body: ScreenedBody<'m>,
}

/// The result of decoding a source message: each body is parsed once and scanned for card numbers once.
pub type SourceEvent<'m, E> = Result<CleanEvent<'m, E>, RejectedBody<'m>>;

/// Decodes an order event and keeps what dead-lettering it would need.
#[inline]
pub fn order(body: &Bytes) -> SourceEvent<'_, Order<'_>> {
    screened(body, json::read_order(body), |order| (Some(order.order_id), None))
}

/// Decodes a payment event and keeps what dead-lettering it would need.
#[inline]
pub fn payment(body: &Bytes) -> SourceEvent<'_, Payment<'_>> {
    let ids = |payment: &Payment<'_>| (Some(payment.order_id), Some(payment.payment_id));
    screened(body, json::read_payment(body), ids)
}

/// Screens a body that was decoded without searching it for card numbers, and keeps what dead-lettering it would need. `ids`
/// are the order and the payment of an event, as far as it has them.
#[inline]
pub fn screened<'m, E>(
    body: &'m Bytes,
    event: Result<E, Rejection>,
    ids: impl FnOnce(&E) -> (Option<OrderId>, Option<i64>),
) -> SourceEvent<'m, E> {
    match (screen(body), event) {
        (ScreenedBody::Clean(body), Ok(event)) => Ok(CleanEvent { event, body }),
        (body @ ScreenedBody::Clean(_), Err(rejection)) => Err(RejectedBody { rejection, body }),
        (ScreenedBody::Masked { body, detail }, event) => {
            let rejection = json::pan_detected(detail.clone(), event.map(|event| ids(&event)));
            Err(RejectedBody { rejection, body: ScreenedBody::Masked { body, detail } })
        }
    }
}

impl<E> CleanEvent<'_, E> {
    /// The same event, owning what `owned` makes of it and sharing its body.
    pub fn into_owned<O>(self, owned: impl FnOnce(E) -> O) -> CleanEvent<'static, O> {
        CleanEvent { event: owned(self.event), body: self.body.into_owned() }
    }
}

impl RejectedBody<'_> {
    /// The same rejection, sharing its body instead of borrowing it.
    pub fn into_owned(self) -> RejectedBody<'static> {
        RejectedBody { rejection: self.rejection, body: self.body.into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecom_domain::reason::Reason;

    const CARD: &str = "4111111111111111";

    fn body(method: &str) -> Bytes {
        Bytes::from(format!(
            "{{\"payment_id\":1007,\"order_id\":7,\"payment_method\":\"{method}\",\
             \"payment_status\":\"Completed\",\"payment_datetime\":\"2024-01-21\"}}"
        ))
    }

    #[test]
    fn a_source_message_is_decoded_as_by_its_kinds_decoder_and_its_body_is_ready_to_leave() {
        for (body, reason) in [
            (body("PayPal"), None),
            (Bytes::from_static(b"{"), Some(Reason::Undecodable)),
            (Bytes::from_static(b"{}"), Some(Reason::Invalid)),
            (body(CARD), Some(Reason::PanDetected)),
            (Bytes::from(format!("[{CARD}]")), Some(Reason::PanDetected)),
        ] {
            let decoded = decode(EventKind::Payment, &body);
            match payment(&body) {
                Ok(clean) => {
                    assert_eq!((Ok(Event::Payment(clean.event)), None), (decoded, reason));
                    assert_eq!(clean.body.into_bytes(), body);
                }
                Err(RejectedBody { rejection, body: screened }) => {
                    assert_eq!((Some(rejection.reason), Err(rejection)), (reason, decoded));
                    assert_eq!(screened, screen(&body));
                }
            }
        }
    }
}
