//! Receiving: a bounded channel of deliveries that the adapter's tasks fill.

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc};

use crate::delivery::Delivery;

/// The backlog of a subscription: messages that were published and are not acked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backlog {
    /// Every message is acked.
    Empty,
    /// At least one message is not acked yet, or the bus cannot be asked at the moment.
    Left,
    /// The bus does not offer this information, as Pub/Sub does not.
    Unknown,
}

/// The adapter's side of a [`Subscription`]: the tasks that receive from the bus and fill the channel.
#[async_trait]
pub trait Feed: Send + Sync {
    /// Returns whether the bus answers requests for messages. It does if there are none.
    fn answers(&self) -> bool;

    /// Asks the bus for the backlog.
    async fn backlog(&self) -> Backlog;

    /// Returns the cause for which the tasks ended without `close`, because receiving can never succeed
    /// again.
    fn failure(&self) -> Option<String> {
        None
    }

    /// Tells the tasks to stop receiving. Returns at once.
    fn close(&self);

    /// Waits until the tasks have ended and every ack and nack has reached the bus.
    async fn stopped(&self);
}

/// An open subscription that any number of workers receive from.
pub struct Subscription {
    deliveries: Mutex<mpsc::Receiver<Delivery>>,
    feed: Box<dyn Feed>,
}

impl Subscription {
    /// Creates a subscription from the receiving end of the channel that `feed` fills.
    pub fn new(deliveries: mpsc::Receiver<Delivery>, feed: Box<dyn Feed>) -> Self {
        Self { deliveries: Mutex::new(deliveries), feed }
    }

    /// Returns the next delivery, or `None` once the subscription is stopped or has failed. Cancel-safe: no delivery is
    /// lost if the future is dropped.
    pub async fn next(&self) -> Option<Delivery> {
        self.deliveries.lock().await.recv().await
    }

    /// Waits for deliveries and adds those that are there to `deliveries`, at most `most` of them. Returns false once
    /// the subscription is stopped or has failed. Cancel-safe, as [`next`](Self::next) is.
    pub async fn next_into(&self, deliveries: &mut Vec<Delivery>, most: usize) -> bool {
        self.deliveries.lock().await.recv_many(deliveries, most).await > 0
    }

    /// Returns whether the bus answers requests for messages. It does if there are none.
    pub fn answers(&self) -> bool {
        self.feed.answers()
    }

    /// Returns the cause for which the subscription ended without being stopped: receiving can never succeed
    /// again.
    pub fn failure(&self) -> Option<String> {
        self.feed.failure()
    }

    /// Asks the bus for the backlog. That no delivery arrives does not mean that it is empty: on a busy host,
    /// messages can take long.
    pub async fn backlog(&self) -> Backlog {
        self.feed.backlog().await
    }

    /// Stops receiving, nacks the buffered deliveries, and waits until all acks have reached the bus. Waits
    /// for the workers to ack, nack or drop their deliveries, so it is up to the caller to bound it. May be
    /// called again.
    pub async fn stop(&self) {
        self.feed.close();
        {
            let mut deliveries = self.deliveries.lock().await;
            deliveries.close();
            while let Some(delivery) = deliveries.recv().await {
                delivery.nack();
            }
        }
        self.feed.stopped().await;
    }
}
