//! Every event of the shop, published again in another order, changes nothing.

use std::sync::Arc;
use std::time::Duration;

use ecom_bus::{Bus, Message, Streams, SubscribeOptions};
use ecom_embedded::{Embedded, Options, Route, open};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::program::TestDir;
use super::shop::{Place, nothing_is_lost_or_doubled};
use super::table::consume;

const TOPICS: [(&str, &str); 2] = [("orders_data", "order_consumer"), ("payments_data", "payment_consumer")];

#[tokio::test]
async fn replaying_both_topics_changes_no_cell() {
    replay(&TestDir::new(), &Place::embedded(), 200).await;
}

/// Lets users order and pay while processes are killed, publishes every event again in random order, and compares the
/// tables. The verification afterwards compares the write times with those of the records.
pub(super) async fn replay(dir: &TestDir, place: &Place, orders: u64) {
    let flags: Vec<&str> = place.flags.iter().map(String::as_str).collect();
    dir.run("ecom_setup", &flags).await.with(0);
    // A second subscription of each topic has every message, too.
    let routes = TOPICS.map(|(topic, _)| Route::new(topic, format!("{topic}-copy")));
    let bus = open(&dir.path("data"), Options::new(routes.into())).unwrap();
    nothing_is_lost_or_doubled(dir, place, 20, orders, 4).await;
    let before = tables(dir, &flags).await;
    let mut dice = ChaCha8Rng::seed_from_u64(3);
    for (topic, consumer) in TOPICS {
        let mut messages = copies(&bus, topic).await;
        assert!(messages.len() as u64 > orders * 2, "{} events on {topic}", messages.len());
        messages.shuffle(&mut dice);
        let publisher = bus.publisher(topic, messages.len()).await.unwrap();
        for message in messages {
            publisher.publish(message).await.await.unwrap();
        }
        // The test waits until every subscription is empty.
        copies(&bus, topic).await;
        consume(dir, consumer, &flags).await;
    }
    assert_eq!(tables(dir, &flags).await, before);
    place.verify(dir).await;
}

/// Acks all messages of a topic's second subscription, and returns them.
async fn copies(bus: &Arc<Embedded>, topic: &str) -> Vec<Message> {
    let options = SubscribeOptions {
        streams: Streams::Fixed(1),
        max_outstanding: 1_000,
        buffer: 100,
        ack_deadline: Duration::from_secs(60),
        idle_rotation: None,
    };
    let subscription = bus.subscribe(&format!("{topic}-copy"), options).await.unwrap();
    let mut messages = Vec::new();
    while let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_secs(2), subscription.next()).await {
        let (received, lease) = delivery.into_parts();
        lease.ack();
        messages.push(received.message);
    }
    messages
}

/// Returns the rows of the fact table and of the superseded payments.
async fn tables(dir: &TestDir, flags: &[&str]) -> [Vec<String>; 2] {
    let mut tables = [Vec::new(), Vec::new()];
    for (rows, table) in tables.iter_mut().zip(["facts", "superseded"]) {
        let export = [&["export", "--format", "json", "--table", table], flags].concat();
        let exported = dir.run("ecom_facts", &export).await.with(0);
        rows.extend(exported.stdout.lines().map(str::to_owned));
        assert!(!rows.is_empty(), "no {table}");
        rows.sort_unstable();
    }
    tables
}
