//! One handing-out of a message.

use super::message::ReceivedMessage;

/// The right to settle a delivery. Dropping it unspent nacks.
pub trait Lease: Send {
    /// The effect is durable: do not deliver this again.
    fn ack(self: Box<Self>);
    /// Deliver this again.
    fn nack(self: Box<Self>);
}

/// A received message and the right to settle it, spent by value. Dropping it nacks.
pub struct Delivery {
    /// The message.
    pub received: ReceivedMessage,
    lease: Box<dyn Lease>,
}

impl Delivery {
    /// A delivery with its lease.
    pub fn new(received: ReceivedMessage, lease: Box<dyn Lease>) -> Self {
        Self { received, lease }
    }

    /// Finishes the message.
    pub fn ack(self) {
        self.lease.ack();
    }

    /// Gives the message back.
    pub fn nack(self) {
        self.lease.nack();
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery").field("received", &self.received).finish_non_exhaustive()
    }
}
