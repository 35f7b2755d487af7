//! A message to publish, before it has an event id and a time.

use bytes::Bytes;

use ecom_codec::event::{self, Event};
use ecom_codec::screen::{Screened, screen};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;
use ecom_domain::reason::Reason;

/// What a message says.
#[derive(Clone, PartialEq, Debug)]
pub enum Content {
    /// A valid order event.
    Order(Order<'static>),
    /// A valid payment event.
    Payment(Payment<'static>),
    /// A body that must be dead-lettered for this reason.
    Rejected(Reason),
    /// A body with a card number in it: to be dead-lettered as `pan_detected`, masked like this.
    Masked(Bytes),
    /// A body from elsewhere; only decoding it tells.
    Foreign,
}

impl Content {
    /// What a body from elsewhere says, by the very decoder the consumers use.
    pub fn of(kind: EventKind, body: &Bytes) -> Self {
        let clean = match screen(body) {
            Screened::Masked { body, .. } => return Self::Masked(body.into_bytes()),
            Screened::Clean(body) => body.into_bytes(),
        };
        match event::decode(kind, &clean) {
            Ok(Event::Order(order)) => Self::Order(order.into_owned()),
            Ok(Event::Payment(payment)) => Self::Payment(payment.into_owned()),
            Err(rejection) => Self::Rejected(rejection.reason),
        }
    }
}

/// One message of a stream.
#[derive(Clone, PartialEq, Debug)]
pub struct Planned {
    /// Which topic it belongs on.
    pub kind: EventKind,
    /// The order it is about; absent for foreign bodies.
    pub order_id: Option<OrderId>,
    /// The body, as it is to be published.
    pub body: Bytes,
    /// What the body says.
    pub content: Content,
    /// Its position in its stream, from 0.
    pub sequence: u64,
    /// The position of the first message of the same event: a copy has its original's event id
    /// and event time.
    pub event: u64,
}

impl Planned {
    /// Whether this event was published before.
    pub fn is_copy(&self) -> bool {
        self.event != self.sequence
    }

    /// The same message with its stream's positions, `base` being the first of its case.
    pub(super) fn at(mut self, base: u64) -> Self {
        self.sequence += base;
        self.event += base;
        self
    }
}
