//! The intake of a subscription: the channel to the workers, bounded in bytes.

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendError;

use ecom_bus::{ByteBudget, ByteShare, Delivery, ReceivedMessage};

/// The memory that a delivery takes beside its body and attributes, in bytes.
const DELIVERY_BYTES: usize = 1_024;

/// The sending half of the channel to the workers, shared by all streams. The deliveries in the channel and
/// those that the workers have are within one budget of bytes.
#[derive(Clone)]
pub(super) struct Intake {
    budget: ByteBudget,
    channel: mpsc::Sender<Delivery>,
}

impl Intake {
    /// Creates an intake of this many bytes, and the receiving half of its channel.
    pub(super) fn new(bytes: usize) -> (Self, mpsc::Receiver<Delivery>) {
        let budget = ByteBudget::new(bytes);
        // As many as the budget allows: the channel is never the limit.
        let (channel, deliveries) = mpsc::channel(budget.total() / DELIVERY_BYTES + 1);
        (Self { budget, channel }, deliveries)
    }

    /// Waits for the room that a delivery of the message takes.
    pub(super) async fn share(&self, received: &ReceivedMessage) -> ByteShare {
        self.budget.share(received.message.size() + DELIVERY_BYTES).await
    }

    /// Sends a delivery to the workers.
    pub(super) async fn send(&self, delivery: Delivery) -> Result<(), SendError<Delivery>> {
        self.channel.send(delivery).await
    }

    /// Returns whether the workers have taken every delivery.
    pub(super) fn is_empty(&self) -> bool {
        self.channel.capacity() == self.channel.max_capacity()
    }
}
