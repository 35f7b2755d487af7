//! The bus port: topics, subscriptions, deliveries and publish acknowledgements, in the terms of Google
//! Pub/Sub.
//!
//! Adapters are `ecom-bus-pubsub` (Google Pub/Sub and its emulator) and `ecom-embedded` (SQLite). The feature
//! `contract` contains the test suite that each adapter passes.

mod byte_budget;
#[cfg(feature = "contract")]
pub mod contract;
mod delivery;
mod message;
mod publisher;
mod subscription;

pub use byte_budget::{ByteBudget, ByteShare};
pub use delivery::{Delivery, Lease};
pub use message::{Message, ReceivedMessage};
pub use publisher::{PublishError, Publisher, Receipt};
pub use subscription::{Backlog, Feed, Subscription};

pub use ecom_domain::attributes::Attributes;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

/// A connected bus. Topics and subscriptions are given by their short names.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Opens a publisher for the topic that keeps at most `window` messages without a publish
    /// acknowledgement.
    ///
    /// # Errors
    /// If the bus cannot be reached. Whether the topic exists may be noticed only on publishing.
    async fn publisher(&self, topic: &str, window: usize) -> Result<Arc<dyn Publisher>, BusError>;

    /// Starts receiving from the subscription.
    ///
    /// # Errors
    /// [`Missing`](BusError::Missing) if it does not exist; otherwise if the bus cannot be asked. Once the
    /// subscription is open, failures of the bus are retried and shown by [`Subscription::answers`] only.
    async fn subscribe(
        &self,
        subscription: &str,
        options: SubscribeOptions,
    ) -> Result<Subscription, BusError>;

    /// Returns whether the topic exists and has a subscription. What is published to a topic without one is
    /// lost.
    ///
    /// # Errors
    /// If the bus cannot be asked. A missing topic is a [`TopicState`], not an error.
    async fn topic_state(&self, topic: &str) -> Result<TopicState, BusError>;

    /// Returns whether all subscriptions of the topic have acked every message, or `None` if the bus does not
    /// offer this information, as Pub/Sub does not.
    ///
    /// # Errors
    /// If the bus cannot be asked.
    async fn is_drained(&self, topic: &str) -> Result<Option<bool>, BusError>;

    /// Describes the bus for logs: its kind, and its host or absolute path.
    fn describe(&self) -> String;

    /// Publishes the pending messages of all publishers and closes the connection. Open subscriptions are
    /// stopped separately.
    async fn close(&self);
}

/// The number of streams that a subscription is received with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Streams {
    /// Starts with one stream and opens more, up to 32, while the workers wait for messages although every
    /// stream is busy.
    Automatic,
    /// Opens this many streams; at least one.
    Fixed(usize),
}

/// The options of a subscription.
#[derive(Clone, Copy, Debug)]
pub struct SubscribeOptions {
    /// The number of streaming-pull streams. More streams raise the throughput, and the memory. The embedded
    /// bus has no streams and ignores it.
    pub streams: Streams,
    /// The maximum number of outstanding messages, over all streams. It must cover the workers and the
    /// early-payment buffer: if it is smaller, it limits their concurrency.
    pub max_outstanding: usize,
    /// The maximum number of deliveries buffered between the adapter and the workers; at least one. They
    /// count as outstanding and are nacked on stop. Pub/Sub ignores it: what its service has sent loses its
    /// lease unless it is received.
    pub buffer: usize,
    /// The ack deadline, which the adapter extends while the consumer runs. A crashed consumer's messages are
    /// redelivered after it. Pub/Sub takes 10 to 600 seconds; values outside are clamped.
    pub ack_deadline: Duration,
    /// The time without a message after which a stream is replaced on a new connection, because the old one
    /// may have died unnoticed. `None` never replaces a silent stream. The embedded bus ignores it.
    pub idle_rotation: Option<Duration>,
}

/// The state of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicState {
    /// The topic has at least one subscription.
    Subscribed,
    /// The topic exists and has no subscription: messages published to it are lost.
    Unsubscribed,
    /// The topic does not exist.
    Missing,
    /// This identity has no permission to look the topic up.
    Unknown,
}

/// An error of the bus.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum BusError {
    /// The topic or subscription does not exist. `ecom_setup` creates it.
    #[error("{what} does not exist on {on}")]
    Missing {
        /// The full name of the topic or subscription.
        what: String,
        /// The bus, with host or path.
        on: String,
    },
    /// The bus did not answer, or cannot do it at the moment. Trying again may succeed.
    #[error("could not {what} on {on}: {source}")]
    Unavailable {
        /// The attempted operation, as a verb phrase: `look up …`.
        what: String,
        /// The bus, with host or path.
        on: String,
        /// The error of the adapter.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bus rejected the operation. Trying again cannot succeed.
    #[error("{on} rejected the request to {what}: {source}")]
    Refused {
        /// The attempted operation, as a verb phrase: `look up …`.
        what: String,
        /// The bus, with host or path.
        on: String,
        /// The error of the adapter.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl BusError {
    /// Returns whether trying again may succeed.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Missing { .. } | Self::Refused { .. } => false,
        }
    }
}
