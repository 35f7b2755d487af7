//! Receiving: one bounded channel, fed by the adapter's own tasks.

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc};

use super::delivery::Delivery;

/// What is left for a subscription: published, and not acked by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backlog {
    /// Nothing.
    Empty,
    /// Something, in a worker or on its way; or the bus could not be asked just now.
    Left,
    /// The bus does not tell.
    Unknown,
}

/// The adapter's side of a subscription.
#[async_trait]
pub trait Feed: Send + Sync {
    /// Whether the bus answers when it is asked for deliveries; a silent topic answers.
    fn answers(&self) -> bool;
    /// Asks the bus whether anything is left.
    async fn backlog(&self) -> Backlog;
    /// Signals that nothing more is wanted; returns at once.
    fn close(&self);
    /// Waits until every settled delivery's ack or nack has reached the bus and the tasks ended.
    async fn stopped(&self);
}

/// A source of deliveries that many workers may ask at once.
pub struct Subscription {
    intake: Mutex<mpsc::Receiver<Delivery>>,
    feed: Box<dyn Feed>,
}

impl Subscription {
    /// A subscription over the channel its feed fills.
    pub fn new(intake: mpsc::Receiver<Delivery>, feed: Box<dyn Feed>) -> Self {
        Self { intake: Mutex::new(intake), feed }
    }

    /// The next delivery; `None` once the subscription is stopped. Cancel-safe.
    pub async fn next(&self) -> Option<Delivery> {
        self.intake.lock().await.recv().await
    }

    /// Whether the bus answers when it is asked for deliveries; a silent topic answers.
    pub fn answers(&self) -> bool {
        self.feed.answers()
    }

    /// Asks the bus whether anything is left. Silence alone proves nothing: on a starved host a
    /// message may be long on its way.
    pub async fn backlog(&self) -> Backlog {
        self.feed.backlog().await
    }

    /// Stops receiving, gives back what no worker has taken, and waits until all acks are flushed.
    /// Deliveries in the workers must be settled or dropped before this can end.
    pub async fn stop(&self) {
        self.feed.close();
        {
            let mut intake = self.intake.lock().await;
            intake.close();
            while let Some(delivery) = intake.recv().await {
                delivery.nack();
            }
        }
        self.feed.stopped().await;
    }
}
