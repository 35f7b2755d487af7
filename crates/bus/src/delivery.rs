//! One delivery of a message to a consumer.

use crate::message::ReceivedMessage;

/// The right to ack or nack one delivery. Dropping it must nack.
///
/// The adapter extends the ack deadline for as long as the lease exists.
pub trait Lease: Send {
    /// Acknowledges the message: its effect is durable, so it need not be delivered again. Returns at once;
    /// the bus may still redeliver the message if the ack is lost.
    fn ack(self: Box<Self>);

    /// Asks for redelivery as soon as possible. Returns at once.
    fn nack(self: Box<Self>);
}

/// A received message that is to be acked or nacked exactly once. Dropping it nacks.
pub struct Delivery {
    /// The message.
    pub received: ReceivedMessage,
    lease: Box<dyn Lease>,
}

impl Delivery {
    /// Creates a delivery.
    pub fn new(received: ReceivedMessage, lease: Box<dyn Lease>) -> Self {
        Self { received, lease }
    }

    /// Returns the message and the right to ack or nack it.
    pub fn into_parts(self) -> (ReceivedMessage, Box<dyn Lease>) {
        (self.received, self.lease)
    }

    /// Acknowledges the message. Call it only after the effect of the message is durable.
    pub fn ack(self) {
        self.lease.ack();
    }

    /// Asks for redelivery.
    pub fn nack(self) {
        self.lease.nack();
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery").field("received", &self.received).finish_non_exhaustive()
    }
}
