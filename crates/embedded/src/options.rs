//! Options for opening the file.

use std::time::Duration;

use ecom_clock::Clock;

use crate::extension::SchemaExtension;
use crate::settings::EmbeddedSettings;

/// Options for opening the file.
#[derive(Clone, Debug)]
pub struct Options {
    /// The behavior where the file, or an extension of its schema, does not exist.
    pub absent: Absent,
    /// Topics and subscriptions to create where they do not exist.
    pub routes: Vec<Route>,
    /// The tables of other crates that this process uses.
    pub extensions: Vec<SchemaExtension>,
    /// The clock for publish times and ack deadlines.
    pub clock: Clock,
    /// The longest that a transaction waits for the lock of another process; then it fails as an outage.
    pub busy_timeout: Duration,
    /// The most bytes of messages in memory.
    pub limits: ByteLimits,
}

/// The most bytes of messages in memory. A larger message is in memory alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ByteLimits {
    /// The most bytes of messages that a subscription has delivered and that are not acked.
    pub intake: usize,
    /// The most bytes of messages that wait for their publish acknowledgement at one publisher.
    pub publish: usize,
}

impl From<&EmbeddedSettings> for ByteLimits {
    fn from(settings: &EmbeddedSettings) -> Self {
        Self { intake: settings.intake_bytes, publish: settings.publish_bytes }
    }
}

/// The behavior where the file, or an extension of its schema, does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absent {
    /// Create the folder, the file and the extensions.
    Create,
    /// Fail with [`OpenError::Missing`](crate::OpenError::Missing) or
    /// [`OpenError::MissingExtension`](crate::OpenError::MissingExtension), and create nothing.
    Refuse,
}

/// A topic with a subscription on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// The short name of the topic.
    pub topic: String,
    /// The short name of the subscription; `None` for a topic without one.
    pub subscription: Option<String>,
}

impl Options {
    /// Returns options that create what is missing, with the system clock, a busy timeout of 2 s and the
    /// limits of the default configuration.
    pub fn new(routes: Vec<Route>) -> Self {
        Self {
            absent: Absent::Create,
            routes,
            extensions: Vec::new(),
            clock: Clock::System,
            busy_timeout: Duration::from_secs(2),
            limits: ByteLimits::from(&ecom_config::defaults("embedded")),
        }
    }

    /// Returns options that create nothing.
    pub fn existing() -> Self {
        Self { absent: Absent::Refuse, ..Self::new(Vec::new()) }
    }
}

impl Route {
    /// Returns a route with a subscription.
    pub fn new(topic: impl Into<String>, subscription: impl Into<String>) -> Self {
        Self { topic: topic.into(), subscription: Some(subscription.into()) }
    }

    /// Returns a route without a subscription: messages published there are not kept.
    pub fn unsubscribed(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), subscription: None }
    }
}
