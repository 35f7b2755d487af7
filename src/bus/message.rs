//! What travels.

use std::collections::HashMap;

use bytes::Bytes;

use crate::domain::event_time::{EventTime, Stamp};

/// A message's attributes. Looked up by name; iterated only in sorted order.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Attributes(HashMap<String, String>);

impl Attributes {
    /// No attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets an attribute.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by name.
    pub fn sorted(&self) -> Vec<(&str, &str)> {
        let mut all: Vec<_> = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.sort_unstable();
        all
    }

    /// The map, as clients take it.
    pub fn into_map(self) -> HashMap<String, String> {
        self.0
    }
}

impl From<HashMap<String, String>> for Attributes {
    fn from(map: HashMap<String, String>) -> Self {
        Self(map)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(all: I) -> Self {
        Self(all.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl std::fmt::Debug for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.sorted().iter().map(|(name, _)| name)).finish()
    }
}

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
pub struct Received {
    /// What travelled.
    pub message: Message,
    /// The bus's id of the message; the same on every redelivery.
    pub id: String,
    /// When the bus took it, microseconds since the epoch; the same on every redelivery.
    pub publish_time_us: i64,
    /// 1 on the first delivery, where the bus counts them; else 0.
    pub attempt: u32,
}

impl Received {
    /// T of this message, as received on a source subscription.
    pub fn event_time(&self) -> EventTime {
        let claimed = self.message.attributes.get("event_time_us");
        EventTime::of(&Stamp::source(self.publish_time_us, &self.id, claimed))
    }
}
