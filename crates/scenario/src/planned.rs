//! The messages to publish, before they have an event id and an event time.

use bytes::Bytes;

use ecom_codec::event::{self, Event};
use ecom_codec::screen::{ScreenedBody, screen};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;
use ecom_domain::reason::Reason;

/// The content of a message.
#[derive(Clone, PartialEq, Debug)]
pub enum EventContent {
    /// A valid order event.
    Order(Order<'static>),
    /// A valid payment event.
    Payment(Payment<'static>),
    /// A bad body, which must be dead-lettered for this reason.
    Rejected(Reason),
    /// A body with a card number, which must be dead-lettered as `pan_detected`. This is the masked body.
    Masked(Bytes),
    /// A body from a file, not decoded yet.
    Foreign,
}

impl EventContent {
    /// Decodes a body with the decoder that the consumers use.
    pub fn of(kind: EventKind, body: &Bytes) -> Self {
        let clean = match screen(body) {
            ScreenedBody::Masked { body, .. } => return Self::Masked(body.into_bytes()),
            ScreenedBody::Clean(body) => body.into_bytes(),
        };
        match event::decode(kind, &clean) {
            Ok(Event::Order(order)) => Self::Order(order.into_owned()),
            Ok(Event::Payment(payment)) => Self::Payment(payment.into_owned()),
            Err(rejection) => Self::Rejected(rejection.reason),
        }
    }
}

/// A message of a stream.
#[derive(Clone, PartialEq, Debug)]
pub struct PlannedEvent {
    /// The kind of event, which determines the topic.
    pub kind: EventKind,
    /// The order id; absent for bodies from a file.
    pub order_id: Option<OrderId>,
    /// The body as published.
    pub body: Bytes,
    /// The content of the body.
    pub content: EventContent,
    /// The position in its stream, from 0.
    pub sequence: u64,
    /// The position of the first message of the same event. A copy has the event id and the event time of
    /// that one.
    pub event: u64,
}

impl PlannedEvent {
    /// Returns whether it is a copy of an earlier message.
    pub fn is_copy(&self) -> bool {
        self.event != self.sequence
    }

    /// Converts positions in a case to positions in the stream. `base` is the position of the first message.
    pub(super) fn at(mut self, base: u64) -> Self {
        self.sequence += base;
        self.event += base;
        self
    }
}
