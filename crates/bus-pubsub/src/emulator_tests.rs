//! Tests on the emulator that `PUBSUB_EMULATOR_HOST` names.

mod relay;

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use crate::provision::{ResourceCheck, ResourceStatus, apply, check};
use crate::{BusUse, DesiredTopics, Pubsub, PubsubSettings};
use ecom_bus::contract::{next_within, service_address, unique_name, within};
use ecom_bus::{
    Attributes, Bus, BusError, Delivery, Message, PublishError, Streams, SubscribeOptions, Subscription,
    TopicState,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn emulator() -> Option<String> {
    service_address("PUBSUB_EMULATOR_HOST")
}

/// Returns the settings of a project that no other test uses. The emulator accepts any.
fn settings(host: &str) -> PubsubSettings {
    PubsubSettings::new(unique_name("test")).on_emulator(host)
}

async fn provisioned(settings: PubsubSettings) -> Pubsub {
    let bus = Pubsub::connect(settings).await.unwrap();
    apply(&bus, &DesiredTopics::default()).await.unwrap();
    bus
}

fn options(streams: usize) -> SubscribeOptions {
    SubscribeOptions {
        streams: Streams::Fixed(streams),
        max_outstanding: 256,
        buffer: 16,
        ack_deadline: Duration::from_secs(10),
        idle_rotation: None,
    }
}

fn message(body: &str) -> Message {
    Message {
        body: Bytes::from(body.to_owned()),
        attributes: [("event_id", body.to_owned())].into_iter().collect(),
    }
}

async fn publish(bus: &Pubsub, topic: &str, bodies: impl IntoIterator<Item = String>) -> Vec<String> {
    let publisher = bus.publisher(topic, 10_000).await.unwrap();
    let mut receipts = Vec::new();
    for body in bodies {
        receipts.push(publisher.publish(message(&body)).await);
    }
    join_all(receipts).await.into_iter().map(Result::unwrap).collect()
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(PATIENCE, what, future).await
}

async fn next(subscription: &Subscription) -> Delivery {
    next_within(PATIENCE, subscription).await
}

fn body(delivery: &Delivery) -> String {
    String::from_utf8(delivery.received.message.body.to_vec()).unwrap()
}

fn numbered(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|i| format!("m{i}"))
}

#[tokio::test]
async fn a_message_arrives_as_it_was_published() {
    let Some(host) = emulator() else { return };
    let bus = provisioned(settings(&host)).await;
    let ids = publish(&bus, "orders_data", ["hello".to_owned()]).await;
    let subscription = bus.subscribe("orders_data-sub", options(1)).await.unwrap();
    let delivery = next(&subscription).await;
    assert_eq!(delivery.received.message, message("hello"));
    assert_eq!(delivery.received.id, ids[0]);
    assert_eq!(delivery.received.attempt, 0);
    let year_2020_us = 1_577_836_800_000_000;
    assert!(delivery.received.publish_time_us > year_2020_us, "{delivery:?}");
    delivery.ack();
    soon("stop", subscription.stop()).await;
    bus.close().await;
}

#[tokio::test]
async fn nacked_and_dropped_deliveries_are_redelivered_and_acked_ones_are_not() {
    let Some(host) = emulator() else { return };
    let bus = provisioned(settings(&host)).await;
    publish(&bus, "orders_data", ["acked", "nacked", "dropped"].map(str::to_owned)).await;
    let subscription = bus.subscribe("orders_data-sub", options(1)).await.unwrap();
    for _ in 0..3 {
        let delivery = next(&subscription).await;
        match body(&delivery).as_str() {
            "acked" => delivery.ack(),
            "nacked" => delivery.nack(),
            _ => drop(delivery),
        }
    }
    let mut again = BTreeSet::new();
    while again.len() < 2 {
        let delivery = next(&subscription).await;
        again.insert(body(&delivery));
        delivery.ack();
    }
    assert_eq!(again, BTreeSet::from(["nacked".to_owned(), "dropped".to_owned()]));
    soon("stop", subscription.stop()).await;
}

#[tokio::test]
async fn stop_sends_the_acks_and_the_rest_is_redelivered() {
    let Some(host) = emulator() else { return };
    let bus = provisioned(settings(&host)).await;
    publish(&bus, "orders_data", numbered(0..100)).await;
    let subscription = bus.subscribe("orders_data-sub", options(2)).await.unwrap();
    let mut acked = BTreeSet::new();
    for _ in 0..10 {
        let delivery = next(&subscription).await;
        acked.insert(body(&delivery));
        delivery.ack();
    }
    soon("stop", subscription.stop()).await;
    assert!(subscription.next().await.is_none());

    // The emulator keeps delivering messages to the two closed streams, for an ack deadline each. With 32
    // open streams, hardly any message goes to a closed one six times in a row.
    let subscription = bus.subscribe("orders_data-sub", options(32)).await.unwrap();
    let mut rest = BTreeSet::new();
    while rest.len() < 90 {
        let delivery = next(&subscription).await;
        rest.insert(body(&delivery));
        delivery.ack();
    }
    soon("stop", subscription.stop()).await;
    assert!(rest.is_disjoint(&acked), "{:?} were redelivered", rest.intersection(&acked).collect::<Vec<_>>());
}

#[tokio::test]
async fn stop_waits_for_the_workers_and_may_be_called_again() {
    let Some(host) = emulator() else { return };
    let bus = provisioned(settings(&host)).await;
    publish(&bus, "orders_data", numbered(0..1)).await;
    let subscription = bus.subscribe("orders_data-sub", options(2)).await.unwrap();
    let outstanding = next(&subscription).await;
    let early = tokio::time::timeout(Duration::from_millis(300), subscription.stop()).await;
    assert!(early.is_err(), "stopped with an outstanding delivery");
    outstanding.ack();
    soon("the second stop", subscription.stop()).await;
}

#[tokio::test]
async fn the_state_of_a_topic_follows_its_subscriptions() {
    let Some(host) = emulator() else { return };
    let bus = Pubsub::connect(settings(&host)).await.unwrap();
    assert_eq!(bus.topic_state("orders_data").await.unwrap(), TopicState::Missing);
    let topic = bus.clients.topic_name("orders_data");
    let subscription = bus.clients.subscription_name("orders_data-sub");
    bus.topics.create_topic().set_name(&topic).send().await.unwrap();
    assert_eq!(bus.topic_state("orders_data").await.unwrap(), TopicState::Unsubscribed);
    apply(&bus, &DesiredTopics::default()).await.unwrap();
    assert_eq!(bus.topic_state("orders_data").await.unwrap(), TopicState::Subscribed);
    bus.subscriptions.delete_subscription().set_subscription(&subscription).send().await.unwrap();
    assert_eq!(bus.topic_state("orders_data").await.unwrap(), TopicState::Unsubscribed);
    bus.topics.delete_topic().set_topic(&topic).send().await.unwrap();
    assert_eq!(bus.topic_state("orders_data").await.unwrap(), TopicState::Missing);
}

#[tokio::test]
async fn a_missing_subscription_is_named() {
    let Some(host) = emulator() else { return };
    let settings = settings(&host);
    let bus = Pubsub::connect(settings.clone()).await.unwrap();
    let error = bus.subscribe("missing-sub", options(1)).await.err().unwrap();
    assert!(matches!(error, BusError::Missing { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "projects/{p}/subscriptions/missing-sub does not exist on Pub/Sub emulator at {host}, project {p}",
            p = settings.project
        )
    );
}

#[tokio::test]
async fn a_stream_recovers_once_its_deleted_subscription_is_back() {
    let Some(host) = emulator() else { return };
    let bus = provisioned(settings(&host)).await;
    let subscription = bus.subscribe("orders_data-sub", options(1)).await.unwrap();
    publish(&bus, "orders_data", ["before".to_owned()]).await;
    next(&subscription).await.ack();
    let name = bus.clients.subscription_name("orders_data-sub");
    bus.subscriptions.delete_subscription().set_subscription(&name).send().await.unwrap();
    apply(&bus, &DesiredTopics::default()).await.unwrap();
    publish(&bus, "orders_data", ["after".to_owned()]).await;
    let delivery = next(&subscription).await;
    assert_eq!(body(&delivery), "after");
    delivery.ack();
    soon("stop", subscription.stop()).await;
}

/// Waits until the subscription reports that the bus answers, or that it does not.
async fn until_answers(subscription: &Subscription, answers: bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    soon(&format!("answers is {answers}"), async {
        while subscription.answers() != answers {
            ticks.tick().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_deleted_subscription_does_not_answer_until_it_is_recreated() {
    let Some(host) = emulator() else { return };
    let bus = provisioned(settings(&host)).await;
    let subscription = bus.subscribe("orders_data-sub", options(2)).await.unwrap();
    assert!(subscription.answers());
    let name = bus.clients.subscription_name("orders_data-sub");
    bus.subscriptions.delete_subscription().set_subscription(&name).send().await.unwrap();
    until_answers(&subscription, false).await;
    apply(&bus, &DesiredTopics::default()).await.unwrap();
    until_answers(&subscription, true).await;
    soon("stop", subscription.stop()).await;
}

#[tokio::test]
async fn provisioning_twice_creates_once_and_reports_differences() {
    let Some(host) = emulator() else { return };
    let bus = Pubsub::connect(settings(&host)).await.unwrap();
    let statuses =
        |checks: Vec<ResourceCheck>| checks.into_iter().map(|check| check.status).collect::<Vec<_>>();
    let desired = DesiredTopics::default();
    assert_eq!(statuses(check(&bus, &desired, None).await.unwrap()), vec![ResourceStatus::Missing; 6]);
    assert_eq!(statuses(apply(&bus, &desired).await.unwrap()), vec![ResourceStatus::Created; 6]);
    assert_eq!(statuses(apply(&bus, &desired).await.unwrap()), vec![ResourceStatus::Present; 6]);
    assert_eq!(statuses(check(&bus, &desired, None).await.unwrap()), vec![ResourceStatus::Present; 6]);
    let used = BusUse {
        binary: "order_consumer",
        receives: vec!["orders_data-sub"],
        publishes: vec!["dlq_payments_data"],
    };
    let checks = check(&bus, &desired, Some(&used)).await.unwrap();
    let names = checks.iter().filter_map(|check| check.name.rsplit('/').next());
    assert_eq!(names.collect::<Vec<_>>(), ["orders_data-sub", "dlq_payments_data"]);
    let retained = DesiredTopics { retain_acked: true, ..desired };
    let checks = check(&bus, &retained, None).await.unwrap();
    assert_eq!(checks[1].status, ResourceStatus::Different("does not retain acked messages".to_owned()));
    assert!(checks[1].fix.contains("update orders_data-sub --retain-acked-messages"), "{}", checks[1].fix);
}

#[tokio::test]
async fn an_invalid_message_is_rejected_without_its_neighbours() {
    let Some(host) = emulator() else { return };
    let bus = provisioned(settings(&host)).await;
    let publisher = bus.publisher("orders_data", 100).await.unwrap();
    let good = publisher.publish(message("good")).await;
    let bad = publisher.publish(Message { body: Bytes::new(), attributes: Attributes::new() }).await;
    let also_good = publisher.publish(message("also good")).await;
    assert!(good.await.is_ok() && also_good.await.is_ok());
    let error = bad.await.unwrap_err();
    assert!(matches!(error, PublishError::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn publishing_to_a_missing_topic_can_be_retried_until_it_is_created() {
    let Some(host) = emulator() else { return };
    let bus = Pubsub::connect(settings(&host)).await.unwrap();
    let publisher = bus.publisher("orders_data", 100).await.unwrap();
    let error = publisher.publish(message("m")).await.await.unwrap_err();
    assert!(error.is_outage() && error.to_string().contains("NOT_FOUND"), "{error}");
    apply(&bus, &DesiredTopics::default()).await.unwrap();
    publisher.publish(message("m")).await.await.unwrap();
}

#[tokio::test]
async fn publish_waits_for_a_receipt_while_the_window_is_full() {
    let Some(host) = emulator() else { return };
    let bus = provisioned(settings(&host)).await;
    let publisher = bus.publisher("orders_data", 2).await.unwrap();
    let first = publisher.publish(message("1")).await;
    let second = publisher.publish(message("2")).await;
    let third = publisher.publish(message("3"));
    tokio::pin!(third);
    let full = tokio::time::timeout(Duration::from_millis(200), &mut third).await;
    assert!(full.is_err(), "a third message entered a window of two");
    first.await.unwrap();
    let third = soon("a place after a receipt", third).await;
    drop(second);
    let fourth = soon("a place after a dropped receipt", publisher.publish(message("4"))).await;
    soon("flush", publisher.flush()).await;
    third.await.unwrap();
    fourth.await.unwrap();
}

/// The emulator has no flow control: it sends everything at once.
#[tokio::test]
async fn messages_that_wait_for_workers_in_an_outage_are_delivered_once() {
    const MESSAGES: usize = 15_000;
    let Some(host) = emulator() else { return };
    let bus = provisioned(settings(&host)).await;
    for first in (0..MESSAGES).step_by(5_000) {
        publish(&bus, "orders_data", numbered(first..first + 5_000)).await;
    }
    let options = SubscribeOptions { streams: Streams::Automatic, max_outstanding: 11_000, ..options(1) };
    let subscription = bus.subscribe("orders_data-sub", options).await.unwrap();
    // The workers: each has a delivery and waits for the store.
    let mut outstanding = Vec::new();
    for _ in 0..256 {
        outstanding.push(next(&subscription).await);
    }
    tokio::time::sleep(options.ack_deadline * 5 / 2).await;
    let (mut distinct, mut deliveries) = (BTreeSet::new(), 0);
    let mut ack = |delivery: Delivery| {
        distinct.insert(body(&delivery));
        deliveries += 1;
        delivery.ack();
    };
    outstanding.into_iter().for_each(&mut ack);
    let quiet = Duration::from_secs(2);
    let drained = async {
        while let Ok(delivery) = tokio::time::timeout(quiet, subscription.next()).await {
            ack(delivery.unwrap());
        }
    };
    soon("no more deliveries", drained).await;
    assert_eq!(distinct.len(), MESSAGES);
    assert!(deliveries <= MESSAGES * 101 / 100, "{deliveries} deliveries of {MESSAGES} messages");
    soon("stop", subscription.stop()).await;
}
