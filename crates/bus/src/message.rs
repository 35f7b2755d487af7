//! Messages, as published and as received.

use bytes::Bytes;

use ecom_domain::attributes::Attributes;
use ecom_domain::event_time::{self, EventTime, Stamp};

/// A message to publish.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The body.
    pub body: Bytes,
    /// The attributes.
    pub attributes: Attributes,
}

impl Message {
    /// Returns the size of body and attributes, in bytes.
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        self.body.len() + attributes.sum::<usize>()
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("length", &self.body.len())
            .field("attributes", &self.attributes)
            .finish()
    }
}

/// A message as received from a subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceivedMessage {
    /// The message as published.
    pub message: Message,
    /// The message id, assigned by the bus. The same on every redelivery.
    pub id: String,
    /// The publish time, in microseconds since the epoch by the clock of the bus. The same on every
    /// redelivery.
    pub publish_time_us: i64,
    /// The delivery attempt, 1 on the first delivery; 0 if the bus does not count them, as Pub/Sub does not
    /// without a dead-letter policy.
    pub attempt: u32,
}

impl ReceivedMessage {
    /// Returns the event time of a message on a source subscription (orders or payments): the claimed
    /// `event_time_us` if it is plausible, else a time derived from publish time and message id.
    pub fn event_time(&self) -> EventTime {
        EventTime::of(&Stamp::source(self.publish_time_us, &self.id, self.claimed()))
    }

    /// Returns the claimed `event_time_us` if it is unusable, and the publish time stands for it.
    #[inline]
    pub fn unusable_event_time(&self) -> Option<&str> {
        self.claimed().filter(|claimed| event_time::is_unusable(claimed))
    }

    #[inline]
    fn claimed(&self) -> Option<&str> {
        self.message.attributes.get("event_time_us")
    }
}
