//! The adapter against the test broker, whose faults the service has and the emulator has not: each fault at
//! each position, and every message is still delivered and finally acked.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the figures are read in the output of the tests")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ecom_bus::contract::{next_within, within};
use ecom_bus::{Attributes, Bus, Delivery, Message, Publisher, Streams, SubscribeOptions, Subscription};
use ecom_bus_pubsub::provision::apply;
use ecom_bus_pubsub::{DesiredTopics, Pubsub, PubsubSettings};
use ecom_test_broker::TestBroker;
use futures_util::future::join_all;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The time in which a scenario must end: twelve ack deadlines, of which three are used on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The scenarios that may start at once: building clients takes processor time.
static STARTING: Semaphore = Semaphore::const_new(4);
/// The silence after which a stream is replaced.
const ROTATION: Duration = Duration::from_secs(2);
/// The messages that are published before and after a fault.
const HALF: usize = 40;

/// The time for which deliveries are outstanding after a fault; the client extends leases every 3 s.
const OUTSTANDING: Duration = Duration::from_millis(3_500);

/// The commands that cause each fault.
const FAULTS: &[&[&str]] = &[
    &["streams end"],
    &["streams error:unavailable"],
    &["streams error:internal"],
    &["streams error:not_found", "open_stream error:not_found 2"],
    &["streams error:permission_denied", "open_stream error:permission_denied 2"],
    &["streams error:unauthenticated", "open_stream error:unauthenticated 2"],
    &["streams error:unknown"],
    &["streams error:cancelled", "open_stream after_headers:ok 2"],
    &["streams error:unavailable", "open_stream after_headers:unavailable 4"],
    &["streams error:unavailable", "open_stream late:500ms 2"],
    &["connections goaway"],
    &["connections goaway", "streams error:unavailable"],
    &["connections reset"],
    &["connections reset", "connect error:unavailable 3"],
    &["connections half_open"],
    &["acknowledge error:unavailable 2"],
    &["acknowledge lost:unavailable 2"],
    &["acknowledge ignored 2"],
    &["acknowledge late:500ms 4"],
    &["acknowledge never 1"],
    &["modify_ack_deadline error:unavailable 2"],
    &["modify_ack_deadline ignored 2"],
    &["deliver twice 40"],
    &["queue reverse", "streams end"],
    &["publish lost:unavailable 2"],
    &["publish error:unavailable 5"],
    &["publish late:500ms 2"],
];

/// The position of a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Position {
    /// The stream is open, and nothing was published yet.
    Idle,
    /// Some messages are acked, and others are on their way.
    Delivering,
    /// Deliveries are outstanding, and are acked after the fault.
    Outstanding,
}

const POSITIONS: [Position; 3] = [Position::Idle, Position::Delivering, Position::Outstanding];

/// A broker with the topics of the pipeline, and its clients.
struct Wire {
    broker: TestBroker,
    settings: PubsubSettings,
    bus: Pubsub,
}

impl Wire {
    async fn start() -> Self {
        let settings = PubsubSettings::new("shop");
        Self::with_bytes(settings.intake_bytes, settings.publish_bytes).await
    }

    /// Starts a broker whose clients have these bounds.
    async fn with_bytes(intake_bytes: usize, publish_bytes: usize) -> Self {
        let broker = TestBroker::start().await.unwrap();
        let settings = PubsubSettings {
            intake_bytes,
            publish_bytes,
            publish_timeout: Duration::from_secs(3),
            // Many scenarios start at once.
            connect_timeout: PATIENCE,
            rpc_timeout: PATIENCE,
            ..PubsubSettings::new("shop").on_emulator(broker.address())
        };
        let bus = Pubsub::connect(settings.clone()).await.unwrap();
        apply(&bus, &DesiredTopics::default()).await.unwrap();
        Self { broker, settings, bus }
    }

    async fn another_bus(&self) -> Pubsub {
        Pubsub::connect(self.settings.clone()).await.unwrap()
    }

    async fn subscribe(&self, options: SubscribeOptions) -> Arc<Subscription> {
        let before = self.broker.streams_opened();
        let subscription = self.bus.subscribe("orders_data-sub", options).await.unwrap();
        within(PATIENCE, "an open stream", async {
            while self.broker.streams_opened() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        Arc::new(subscription)
    }

    fn command(&self, line: &str) {
        self.broker.command(line).unwrap();
    }

    fn report(&self) -> ecom_test_broker::SubscriptionReport {
        self.broker.subscription("projects/shop/subscriptions/orders_data-sub")
    }

    /// Waits until the broker has an ack of every message.
    async fn drained(&self) {
        while self.report().unacked > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn options() -> SubscribeOptions {
    SubscribeOptions {
        streams: Streams::Fixed(2),
        max_outstanding: 1_000,
        buffer: 16,
        ack_deadline: Duration::from_secs(10),
        idle_rotation: Some(ROTATION),
    }
}

/// Publishes messages with these numbers, each until it is acknowledged, as the pipeline does.
async fn publish(publisher: &dyn Publisher, numbers: std::ops::Range<usize>) {
    join_all(numbers.map(|number| async move {
        let body = Bytes::from(number.to_string());
        let message = Message { body, attributes: Attributes::new() };
        while publisher.publish(message.clone()).await.await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }))
    .await;
}

fn number(delivery: &Delivery) -> usize {
    std::str::from_utf8(&delivery.received.message.body).unwrap().parse().unwrap()
}

/// Acks every delivery and reports its number.
async fn ack_all(subscription: Arc<Subscription>, seen: mpsc::Sender<usize>) {
    while let Some(delivery) = subscription.next().await {
        let number = number(&delivery);
        delivery.ack();
        if seen.send(number).await.is_err() {
            return;
        }
    }
}

/// Returns whether the fault is a rule that must take effect at this position.
fn has_rule(fault: &[&str], position: Position) -> bool {
    let is_immediate =
        |line: &str| ["streams", "connections", "queue"].iter().any(|now| line.starts_with(now));
    let extends = |line: &str| line.starts_with("modify_ack_deadline");
    fault.iter().any(|line| !is_immediate(line) && (position == Position::Outstanding || !extends(line)))
}

/// Runs one scenario. Returns the numbers of messages and of deliveries.
async fn scenario(fault: &[&str], position: Position) -> (usize, u32) {
    let starting = STARTING.acquire().await.unwrap();
    let wire = Wire::start().await;
    let publisher = wire.bus.publisher("orders_data", 1_000).await.unwrap();
    let subscription = wire.subscribe(options()).await;
    drop(starting);
    let (sender, mut receiver) = mpsc::channel(1_000);
    let mut seen = BTreeSet::new();
    let mut consumers = JoinSet::new();
    let inject = || fault.iter().for_each(|line| wire.command(line));
    match position {
        Position::Idle => inject(),
        Position::Delivering => {
            consumers.spawn(ack_all(subscription.clone(), sender.clone()));
            publish(publisher.as_ref(), 0..HALF / 2).await;
            seen.insert(receiver.recv().await.unwrap());
            inject();
            publish(publisher.as_ref(), HALF / 2..HALF).await;
        }
        Position::Outstanding => {
            publish(publisher.as_ref(), 0..HALF).await;
            let mut outstanding = Vec::new();
            for _ in 0..HALF {
                outstanding.push(next_within(PATIENCE, &subscription).await);
            }
            inject();
            tokio::time::sleep(OUTSTANDING).await;
            for delivery in outstanding {
                seen.insert(number(&delivery));
                delivery.ack();
            }
        }
    }
    let messages = if position == Position::Idle { HALF } else { 2 * HALF };
    consumers.spawn(ack_all(subscription.clone(), sender));
    publish(publisher.as_ref(), messages - HALF..messages).await;
    while seen.len() < messages {
        seen.insert(receiver.recv().await.unwrap());
    }
    wire.drained().await;
    assert_eq!(seen, (0..messages).collect(), "{fault:?} {position:?}");
    assert!(wire.broker.faults() > 0 || !has_rule(fault, position), "{fault:?} {position:?} did not happen");
    let deliveries = wire.report().deliveries.values().sum();
    within(PATIENCE, "the subscription has stopped", subscription.stop()).await;
    (messages, deliveries)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_at_any_position_loses_a_message() {
    let started = Instant::now();
    let mut scenarios = JoinSet::new();
    for fault in FAULTS {
        for position in POSITIONS {
            scenarios.spawn(async move {
                let started = Instant::now();
                let run = tokio::time::timeout(PATIENCE, scenario(fault, position)).await;
                (fault, position, started.elapsed(), run)
            });
        }
    }
    let (mut count, mut failed) = (0, Vec::new());
    while let Some(ended) = scenarios.join_next().await {
        let (fault, position, took, run) = ended.unwrap();
        count += 1;
        match run {
            Ok((messages, deliveries)) => {
                println!(
                    "{took:6.1?} {messages} messages {deliveries} deliveries: {} ({position:?})",
                    fault.join(", ")
                );
            }
            Err(_) => failed.push(format!("{} ({position:?})", fault.join(", "))),
        }
    }
    println!("{count} scenarios in {:.1?}", started.elapsed());
    assert!(failed.is_empty(), "messages were not acked within {PATIENCE:?}: {failed:#?}");
}

#[tokio::test]
async fn a_half_open_connection_is_replaced_within_the_rotation_and_five_seconds() {
    let wire = Wire::start().await;
    let subscription = wire.subscribe(options()).await;
    let publisher = wire.bus.publisher("orders_data", 10).await.unwrap();
    publish(publisher.as_ref(), 0..1).await;
    next_within(PATIENCE, &subscription).await.ack();
    wire.command("connections half_open");
    let silent_since = Instant::now();
    within(PATIENCE, "the broker has noticed it", async {
        while wire.report().streams > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let publisher = wire.another_bus().await.publisher("orders_data", 10).await.unwrap();
    publish(publisher.as_ref(), 1..2).await;
    while number(&next_within(PATIENCE, &subscription).await) != 1 {}
    let took = silent_since.elapsed();
    println!(
        "a message arrived {took:.1?} after the connection had become half-open, the rotation is {ROTATION:?}"
    );
    assert!(took <= ROTATION + Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_stream_that_fails_after_its_headers_is_reopened_less_than_ten_times_a_second() {
    const WATCHED: Duration = Duration::from_secs(5);
    for code in ["unavailable", "internal", "not_found", "ok"] {
        let wire = Wire::start().await;
        let options = SubscribeOptions { streams: Streams::Fixed(1), ..options() };
        let subscription = wire.subscribe(options).await;
        wire.command(&format!("open_stream after_headers:{code} always"));
        wire.command("streams error:unavailable");
        let before = wire.broker.streams_opened();
        tokio::time::sleep(WATCHED).await;
        let per_second = (wire.broker.streams_opened() - before) as f64 / WATCHED.as_secs_f64();
        println!("{code} after the headers: {per_second:.1} streams opened a second");
        assert!(per_second < 10.0, "{code}: {per_second} streams a second");
        wire.command("clear");
        let publisher = wire.bus.publisher("orders_data", 10).await.unwrap();
        publish(publisher.as_ref(), 0..1).await;
        next_within(PATIENCE, &subscription).await.ack();
    }
}

#[tokio::test]
async fn messages_that_wait_for_workers_in_an_outage_are_delivered_once() {
    const MESSAGES: usize = 3_000;
    let wire = Wire::start().await;
    let publisher = wire.bus.publisher("orders_data", MESSAGES).await.unwrap();
    publish(publisher.as_ref(), 0..MESSAGES).await;
    let options = SubscribeOptions { streams: Streams::Automatic, max_outstanding: 11_000, ..options() };
    let subscription = wire.subscribe(options).await;
    // The workers: each has a delivery and waits for the store.
    let mut outstanding = Vec::new();
    for _ in 0..16 {
        outstanding.push(next_within(PATIENCE, &subscription).await);
    }
    tokio::time::sleep(options.ack_deadline * 5 / 2).await;
    let report = wire.report();
    println!("after 2.5 deadlines: {} leases expired, {} outstanding", report.expired, report.outstanding);
    for delivery in outstanding {
        delivery.ack();
    }
    let (sender, mut receiver) = mpsc::channel(1_000);
    let _consumer = tokio::spawn(ack_all(subscription, sender));
    tokio::spawn(async move { while receiver.recv().await.is_some() {} });
    within(PATIENCE, "every message is acked", wire.drained()).await;
    let deliveries: u32 = wire.report().deliveries.values().sum();
    println!("{MESSAGES} messages, {deliveries} deliveries");
    assert_eq!((report.expired, deliveries as usize), (0, MESSAGES));
}

/// Publishes messages of this size.
async fn publish_large(publisher: &dyn Publisher, count: usize, bytes: usize) {
    for _ in 0..count {
        let message = Message { body: vec![b'x'; bytes].into(), attributes: Attributes::new() };
        publisher.publish(message).await.await.unwrap();
    }
}

/// Returns all that is delivered without an ack.
async fn deliveries_without_ack(subscription: &Subscription) -> Vec<Delivery> {
    let mut deliveries = vec![next_within(PATIENCE, subscription).await];
    while let Ok(delivery) = tokio::time::timeout(Duration::from_millis(700), subscription.next()).await {
        deliveries.push(delivery.unwrap());
    }
    deliveries
}

#[tokio::test]
async fn no_more_bytes_are_received_than_the_intake_may_have() {
    const INTAKE: usize = 32 << 20;
    const MESSAGE: usize = 1_000_000;
    const MESSAGES: usize = 80;
    let wire = Wire::with_bytes(INTAKE, 64 << 20).await;
    let publisher = wire.bus.publisher("orders_data", 10).await.unwrap();
    publish_large(publisher.as_ref(), MESSAGES, MESSAGE).await;
    let subscription = wire.subscribe(options()).await;
    let mut received = 0;
    while received < MESSAGES {
        let outstanding = deliveries_without_ack(&subscription).await;
        let bytes = outstanding.len() * MESSAGE;
        let sent = wire.report().outstanding_bytes;
        println!("{bytes} bytes at the workers, {sent} bytes sent, of {INTAKE}");
        assert!(bytes <= INTAKE, "{bytes}");
        // The service stops at the limit, which its last message of each stream exceeds.
        assert!(sent <= INTAKE + 2 * MESSAGE, "{sent}");
        received += outstanding.len();
        outstanding.into_iter().for_each(Delivery::ack);
    }
    within(PATIENCE, "every message is acked", wire.drained()).await;
    assert_eq!(received, MESSAGES, "each was delivered once");
}

#[tokio::test]
async fn a_message_larger_than_the_intake_is_received_alone() {
    let wire = Wire::with_bytes(1 << 20, 1 << 20).await;
    let publisher = wire.bus.publisher("orders_data", 10).await.unwrap();
    publish_large(publisher.as_ref(), 3, 3_000_000).await;
    let subscription = wire.subscribe(options()).await;
    for _ in 0..3 {
        let mut outstanding = deliveries_without_ack(&subscription).await;
        assert_eq!(outstanding.len(), 1);
        outstanding.remove(0).ack();
    }
    within(PATIENCE, "every message is acked", wire.drained()).await;
}

#[tokio::test]
async fn no_more_bytes_are_published_than_the_window_has() {
    let wire = Wire::with_bytes(1 << 20, 4 << 20).await;
    wire.command("publish never always");
    let publisher = wire.bus.publisher("orders_data", 1_000).await.unwrap();
    let mut receipts = Vec::new();
    let message = Message { body: vec![b'x'; 1_000_000].into(), attributes: Attributes::new() };
    while let Ok(receipt) =
        tokio::time::timeout(Duration::from_millis(300), publisher.publish(message.clone())).await
    {
        receipts.push(receipt);
    }
    assert_eq!(receipts.len(), 4);
    wire.command("clear");
    drop(receipts);
    publish_large(publisher.as_ref(), 2, 9_000_000).await;
}
