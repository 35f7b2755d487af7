//! Publishing and subscribing, as most cases do.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::subject::BusSubject;
use super::waiting::within;
use crate::{Attributes, Message, Streams, SubscribeOptions, Subscription};

/// Returns options for a single consumer.
pub(super) fn options(subject: &BusSubject) -> SubscribeOptions {
    SubscribeOptions {
        streams: Streams::Fixed(1),
        max_outstanding: 1_000,
        buffer: 16,
        ack_deadline: subject.ack_deadline,
        idle_rotation: None,
    }
}

/// Returns options for a consumer whose ack deadlines never pass during a case: a redelivery was caused by a
/// nack.
pub(super) fn long_ack_deadline(subject: &BusSubject) -> SubscribeOptions {
    SubscribeOptions { ack_deadline: Duration::from_secs(600), ..options(subject) }
}

/// Returns options for a consumer that follows another. The emulator keeps feeding closed streams, and
/// several open ones make their share small.
pub(super) fn successor(subject: &BusSubject) -> SubscribeOptions {
    SubscribeOptions { streams: Streams::Fixed(16), ..options(subject) }
}

/// Returns a message without attributes.
pub(super) fn plain(body: impl Into<String>) -> Message {
    Message { body: Bytes::from(body.into()), attributes: Attributes::new() }
}

/// Returns this many messages with distinct bodies.
pub(super) fn numbered(count: usize) -> Vec<Message> {
    (0..count).map(|n| plain(n.to_string())).collect()
}

/// Publishes on the subject's topic and awaits the receipts. Returns the message ids in order.
pub(super) async fn publish(subject: &BusSubject, messages: Vec<Message>) -> Vec<String> {
    let publisher = subject.bus.publisher(&subject.topic, 256).await.unwrap();
    let mut ids = Vec::new();
    for part in messages.chunks(200) {
        let publishing = async {
            let mut receipts = Vec::new();
            for message in part {
                receipts.push(publisher.publish(message.clone()).await);
            }
            join_all(receipts).await
        };
        let outcomes = within(subject.patience, "the receipts", publishing).await;
        ids.extend(outcomes.into_iter().map(Result::unwrap));
    }
    ids
}

/// Receives from the subject's subscription.
pub(super) async fn subscribe(subject: &BusSubject, options: SubscribeOptions) -> Subscription {
    subject.bus.subscribe(&subject.subscription, options).await.unwrap()
}
