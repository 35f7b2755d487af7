//! The topics and subscriptions of the broker.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ecom_clock::Clock;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as proto;
use serde_json::Value;
use tokio::time::Instant;
use tonic::Status;

use crate::subscription::{Stored, Subscription};

/// The limits of the service for one request to publish.
const MAX_MESSAGES: usize = 1_000;
const MAX_BYTES: usize = 10_000_000;

/// All topics and subscriptions, by their full names, each as its description in JSON.
#[derive(Default)]
pub(crate) struct Topics {
    topics: BTreeMap<String, Value>,
    pub(crate) subscriptions: BTreeMap<String, Subscription>,
    /// The number of published messages, which is the last message id.
    pub(crate) published: u64,
    /// The file to which each published message is written.
    pub(crate) archive: Option<File>,
}

impl Topics {
    pub(crate) fn create_topic(&mut self, name: &str, description: Value) -> Result<Value, Status> {
        if self.topics.contains_key(name) {
            return Err(Status::already_exists(format!("topic {name} exists")));
        }
        self.topics.insert(name.to_owned(), description.clone());
        Ok(description)
    }

    pub(crate) fn topic(&self, name: &str) -> Result<Value, Status> {
        self.topics.get(name).cloned().ok_or_else(|| Status::not_found(format!("topic {name}")))
    }

    pub(crate) fn topics_below(&self, collection: &str) -> Vec<Value> {
        let prefix = format!("{collection}/");
        self.topics
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix))
            .map(|(_, topic)| topic.clone())
            .collect()
    }

    pub(crate) fn subscriptions_of(&self, topic: &str) -> Result<Vec<String>, Status> {
        self.topic(topic)?;
        let of_topic = self.subscriptions.iter().filter(|(_, of)| of.description["topic"] == topic);
        Ok(of_topic.map(|(name, _)| name.clone()).collect())
    }

    pub(crate) fn create_subscription(&mut self, name: &str, description: Value) -> Result<Value, Status> {
        self.topic(description["topic"].as_str().unwrap_or_default())?;
        if self.subscriptions.contains_key(name) {
            return Err(Status::already_exists(format!("subscription {name} exists")));
        }
        self.subscriptions.insert(name.to_owned(), Subscription::new(description.clone()));
        Ok(description)
    }

    pub(crate) fn subscription(&mut self, name: &str) -> Result<&mut Subscription, Status> {
        let found = self.subscriptions.get_mut(name);
        found.ok_or_else(|| Status::not_found(format!("subscription {name}")))
    }

    /// Ends the leases whose deadline is over. Returns whether there was one.
    pub(crate) fn expire_leases(&mut self, now: Instant) -> bool {
        let mut expired = false;
        for subscription in self.subscriptions.values_mut() {
            expired |= subscription.expire(now);
        }
        expired
    }

    /// Reverses the order of the messages that are ready, in every subscription.
    pub(crate) fn reverse_queues(&mut self) {
        self.subscriptions.values_mut().for_each(Subscription::reverse);
    }

    /// Publishes messages to all subscriptions of a topic, and returns their ids.
    pub(crate) fn publish(
        &mut self,
        topic: &str,
        messages: Vec<proto::PubsubMessage>,
    ) -> Result<Vec<String>, Status> {
        let subscriptions = self.subscriptions_of(topic)?;
        let sizes: Vec<_> = messages.iter().map(bytes).collect();
        if messages.is_empty() || messages.len() > MAX_MESSAGES || sizes.iter().sum::<usize>() > MAX_BYTES {
            return Err(Status::invalid_argument("a request has 1 to 1,000 messages of 10 MB in total"));
        }
        if sizes.contains(&0) {
            return Err(Status::invalid_argument("a message has neither data nor attributes"));
        }
        // In milliseconds, one for the request.
        let now_ms = Clock::System.now_us() / 1_000;
        let nanos = i32::try_from(now_ms % 1_000).unwrap_or_default() * 1_000_000;
        let publish_time = prost_types::Timestamp { seconds: now_ms / 1_000, nanos };
        let mut ids = Vec::with_capacity(messages.len());
        for (mut message, bytes) in messages.into_iter().zip(sizes) {
            self.published += 1;
            message.message_id = self.published.to_string();
            message.publish_time = Some(publish_time);
            ids.push(message.message_id.clone());
            if let Some(file) = &mut self.archive {
                writeln!(file, "{}", archived(topic, &message))
                    .map_err(|error| Status::internal(format!("could not write the archive: {error}")))?;
            }
            let stored = Arc::new(Stored { message, bytes });
            for name in &subscriptions {
                self.subscription(name)?.publish(stored.clone());
            }
        }
        Ok(ids)
    }
}

/// Returns a message as Pub/Sub writes it in JSON, with its topic.
fn archived(topic: &str, message: &proto::PubsubMessage) -> Value {
    serde_json::json!({
        "topic": topic,
        "message": {
            "data": BASE64_STANDARD.encode(&message.data),
            "attributes": message.attributes,
            "messageId": message.message_id,
            "publishTime": message.publish_time.as_ref().map(ToString::to_string),
        },
    })
}

fn bytes(message: &proto::PubsubMessage) -> usize {
    message.data.len()
        + message.attributes.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
}
