//! What travels.

use bytes::Bytes;

use ecom_domain::attributes::Attributes;
use ecom_domain::event_time::{EventTime, Stamp};

/// A message to publish.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The body's bytes.
    pub body: Bytes,
    /// The attributes.
    pub attributes: Attributes,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("length", &self.body.len())
            .field("attributes", &self.attributes)
            .finish()
    }
}

/// A message as it was received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceivedMessage {
    /// What travelled.
    pub message: Message,
    /// The bus's id of the message; the same on every redelivery.
    pub id: String,
    /// When the bus took it, microseconds since the epoch; the same on every redelivery.
    pub publish_time_us: i64,
    /// 1 on the first delivery, where the bus counts them; else 0.
    pub attempt: u32,
}

impl ReceivedMessage {
    /// T of this message, as received on a source subscription.
    pub fn event_time(&self) -> EventTime {
        let claimed = self.message.attributes.get("event_time_us");
        EventTime::of(&Stamp::source(self.publish_time_us, &self.id, claimed))
    }
}
