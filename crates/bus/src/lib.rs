//! The bus as the pipeline sees it: topics, subscriptions, deliveries and receipts.
//!
//! Two adapters stand behind it: Google Pub/Sub (`bus::pubsub`) and the embedded one.

mod delivery;
mod message;
mod publisher;
mod subscription;

pub use delivery::{Delivery, Lease};
pub use message::{Message, ReceivedMessage};
pub use publisher::{PublishError, Publisher, Receipt};
pub use subscription::{Backlog, Feed, Subscription};

pub use ecom_domain::attributes::Attributes;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

/// A connected bus.
#[async_trait]
pub trait Bus: Send + Sync {
    /// A publisher for the topic (short name) that keeps at most `window` messages in flight.
    async fn publisher(&self, topic: &str, window: usize) -> Result<Arc<dyn Publisher>, BusError>;

    /// Starts receiving from the subscription (short name).
    async fn subscribe(
        &self,
        subscription: &str,
        options: SubscribeOptions,
    ) -> Result<Subscription, BusError>;

    /// Whether anything published on the topic is kept for somebody.
    async fn topic_state(&self, topic: &str) -> Result<TopicState, BusError>;

    /// Whether everything published on the topic was acked by all its subscriptions; `None` where
    /// the bus does not tell, as Pub/Sub does not.
    async fn is_drained(&self, topic: &str) -> Result<Option<bool>, BusError>;

    /// What people call it: kind and host, or kind and absolute path.
    fn describe(&self) -> String;

    /// Waits until nothing is left to write, and lets go of the connection.
    async fn close(&self);
}

/// How many streams a subscription is received by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Streams {
    /// One, and more for as long as they are what the workers wait for.
    Automatic,
    /// This many; at least one.
    Fixed(usize),
}

/// How a subscription is received.
#[derive(Clone, Copy, Debug)]
pub struct SubscribeOptions {
    /// Streams opened side by side (embedded: ignored).
    pub streams: Streams,
    /// Deliveries handed out and not settled, over all streams: workers plus hold.
    pub max_outstanding: usize,
    /// Deliveries buffered between the adapter and the workers.
    pub buffer: usize,
    /// How long a lease lasts without renewal; a crashed consumer's messages come back after it.
    pub ack_deadline: Duration,
    /// Rebuild a stream that was silent for this long; `None` = never.
    pub idle_rotation: Option<Duration>,
}

/// What becomes of a message published on a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicState {
    /// At least one subscription keeps it.
    Subscribed,
    /// The topic exists; nobody keeps what is published there.
    Unsubscribed,
    /// There is no such topic.
    Missing,
    /// This identity may not look.
    Unknown,
}

/// Why the bus could not do what was asked.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum BusError {
    /// The topic or subscription does not exist; `ecom_setup` creates it.
    #[error("{what} does not exist on {on}")]
    Missing {
        /// The topic or subscription by its full name.
        what: String,
        /// The bus.
        on: String,
    },
    /// The bus did not answer, or answered that it cannot now; trying again may succeed.
    #[error("could not {what} on {on}: {source}")]
    Unavailable {
        /// What was attempted.
        what: String,
        /// The bus, with host or path.
        on: String,
        /// The adapter's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bus refused; trying again cannot succeed.
    #[error("{on} refused to {what}: {source}")]
    Refused {
        /// What was attempted.
        what: String,
        /// The bus, with host or path.
        on: String,
        /// The adapter's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl BusError {
    /// Whether trying again may succeed.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Missing { .. } | Self::Refused { .. } => false,
        }
    }
}
