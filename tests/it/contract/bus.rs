//! What every bus keeps, the emulator included.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use ecom_bus::{
    Attributes, BusError, Message, ReceivedMessage, Streams, SubscribeOptions, Subscription, TopicState,
};
use futures_util::FutureExt;
use futures_util::future::join_all;

use super::BusSubject;
use crate::services::unique;
use crate::waiting::{never_within, next_within, within};

stamp! { bus on "embedded" embedded, "pubsub" pubsub: [
    a_message_arrives_with_its_bytes_and_attributes_untouched,
    a_message_whose_receipt_resolved_is_readable_through_another_handle,
    a_nacked_message_comes_again_as_the_same_message,
    a_dropped_delivery_comes_again,
    an_acked_message_never_comes_again,
    a_crashed_consumers_message_comes_again_after_its_lease,
    a_lease_is_kept_while_its_consumer_lives,
    acks_are_flushed_by_stop,
    what_no_lane_took_is_given_back_by_stop,
    waiting_lanes_are_released_by_stop,
    every_message_reaches_exactly_one_of_many_lanes,
    a_cancelled_next_loses_no_message,
    an_unknown_subscription_is_an_error_that_names_it,
    an_unknown_topic_is_an_error_that_names_it,
    a_topic_says_whether_anybody_keeps_what_is_published,
    a_full_window_makes_the_publisher_wait,
    a_dropped_receipt_gives_its_place_back_and_its_message_is_published,
    flush_waits_for_everything_handed_over,
    close_writes_what_was_handed_over,
    a_bus_says_what_it_is,
] }

/// Options for one consumer of the subject's subscription.
pub fn options(subject: &BusSubject) -> SubscribeOptions {
    SubscribeOptions {
        streams: Streams::Fixed(1),
        max_outstanding: 1_000,
        buffer: 16,
        ack_deadline: subject.ack_deadline,
        idle_rotation: None,
    }
}

/// Options for a consumer whose leases outlast every patience: what comes again was given back.
pub fn patient(subject: &BusSubject) -> SubscribeOptions {
    SubscribeOptions { ack_deadline: Duration::from_secs(600), ..options(subject) }
}

/// Options for a consumer that comes after another: the emulator goes on feeding streams that are
/// gone, and several live ones make their share small.
pub fn later(subject: &BusSubject) -> SubscribeOptions {
    SubscribeOptions { streams: Streams::Fixed(4), ..options(subject) }
}

/// A message of this body and no attributes.
pub fn plain(body: impl Into<String>) -> Message {
    Message { body: Bytes::from(body.into()), attributes: Attributes::new() }
}

/// Publishes on the subject's topic and waits for the receipts; the ids in order.
pub async fn publish(subject: &BusSubject, messages: Vec<Message>) -> Vec<String> {
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
        let outcomes = within(subject.patience, "nothing is acknowledged", publishing).await;
        ids.extend(outcomes.into_iter().map(Result::unwrap));
    }
    ids
}

/// Receives on the subject's subscription.
pub async fn subscribe(subject: &BusSubject, options: SubscribeOptions) -> Subscription {
    subject.bus.subscribe(&subject.subscription, options).await.unwrap()
}

/// Takes one message on a bus, a runtime and a thread of its own, and dies without settling it.
async fn take_one_and_die(subject: &BusSubject) -> ReceivedMessage {
    let open = Arc::clone(&subject.bus.open);
    let (subscription, options, patience) =
        (subject.subscription.clone(), options(subject), subject.patience);
    let life = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (received, remains) = runtime.block_on(async {
            let bus = open().await;
            let subscription = bus.subscribe(&subscription, options).await.unwrap();
            let delivery = next_within(patience, &subscription).await;
            let received = delivery.received.clone();
            std::mem::forget(delivery);
            (received, (subscription, bus))
        });
        runtime.shutdown_background();
        drop(remains);
        received
    };
    tokio::task::spawn_blocking(life).await.unwrap()
}

async fn a_message_arrives_with_its_bytes_and_attributes_untouched(subject: &BusSubject) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let many = (0..90).map(|n| (format!("name_{n}"), format!("value {n} of ninety: \"'\\ ünï ✓ 漢")));
    let long = [("long", "x".repeat(1_024)), ("empty", String::new())];
    let sent = vec![
        Message { body: every_byte.clone().into(), attributes: Attributes::new() },
        Message {
            body: every_byte.repeat(4_096).into(),
            attributes: [("size", "1 MiB")].into_iter().collect(),
        },
        Message { body: Bytes::new(), attributes: [("dlq_reason", "undecodable")].into_iter().collect() },
        Message { body: Bytes::from_static(b"{}"), attributes: many.collect() },
        Message { body: Bytes::from_static(b"\0"), attributes: long.into_iter().collect() },
    ];
    let ids = publish(subject, sent.clone()).await;
    let expected: BTreeMap<String, Message> = ids.into_iter().zip(sent).collect();

    let subscription = subscribe(subject, options(subject)).await;
    let mut arrived = BTreeMap::new();
    while arrived.len() < expected.len() {
        let delivery = next_within(subject.patience, &subscription).await;
        arrived.insert(delivery.received.id.clone(), delivery.received.message.clone());
        delivery.ack();
    }

    assert!(arrived == expected, "{arrived:?} is not {expected:?}");
    subscription.stop().await;
}

async fn a_message_whose_receipt_resolved_is_readable_through_another_handle(subject: &BusSubject) {
    let other = subject.bus.another().await;
    let id = publish(subject, vec![plain("durable")]).await.remove(0);

    let subscription = other.subscribe(&subject.subscription, options(subject)).await.unwrap();
    let delivery = next_within(subject.patience, &subscription).await;

    assert_eq!((&delivery.received.id, &delivery.received.message), (&id, &plain("durable")));
    delivery.ack();
    subscription.stop().await;
}

async fn a_nacked_message_comes_again_as_the_same_message(subject: &BusSubject) {
    publish(subject, vec![plain("again")]).await;
    let subscription = subscribe(subject, patient(subject)).await;
    let first = next_within(subject.patience, &subscription).await;
    let before = first.received.clone();

    first.nack();
    let second = next_within(subject.patience, &subscription).await;

    let expected_attempt = if before.attempt == 0 { 0 } else { 2 };
    assert_eq!(second.received, ReceivedMessage { attempt: expected_attempt, ..before });
    second.ack();
    subscription.stop().await;
}

async fn a_dropped_delivery_comes_again(subject: &BusSubject) {
    publish(subject, vec![plain("dropped")]).await;
    let subscription = subscribe(subject, patient(subject)).await;
    let first = next_within(subject.patience, &subscription).await;
    let id = first.received.id.clone();

    drop(first);
    let second = next_within(subject.patience, &subscription).await;

    assert_eq!(second.received.id, id);
    second.ack();
    subscription.stop().await;
}

async fn an_acked_message_never_comes_again(subject: &BusSubject) {
    publish(subject, vec![plain("once")]).await;
    let subscription = subscribe(subject, options(subject)).await;

    next_within(subject.patience, &subscription).await.ack();

    let window = subject.ack_deadline + subject.ack_deadline / 2;
    never_within(window, "it was acked", subscription.next()).await;
    subscription.stop().await;
}

async fn a_crashed_consumers_message_comes_again_after_its_lease(subject: &BusSubject) {
    publish(subject, vec![plain("orphan")]).await;

    let held = take_one_and_die(subject).await;

    let subscription = subscribe(subject, later(subject)).await;
    let again = next_within(subject.patience, &subscription).await;
    assert_eq!((&again.received.id, again.received.publish_time_us), (&held.id, held.publish_time_us));
    again.ack();
    subscription.stop().await;
}

async fn a_lease_is_kept_while_its_consumer_lives(subject: &BusSubject) {
    publish(subject, vec![plain("slow")]).await;
    let subscription = subscribe(subject, options(subject)).await;
    let worked_on = next_within(subject.patience, &subscription).await;
    let other = subject.bus.another().await;
    let rival = other.subscribe(&subject.subscription, options(subject)).await.unwrap();

    let anybody = futures_util::future::select(Box::pin(subscription.next()), Box::pin(rival.next()));
    let again = async { anybody.await.factor_first().0 };
    never_within(subject.ack_deadline * 5 / 2, "its consumer works on it", again).await;

    worked_on.ack();
    subscription.stop().await;
    rival.stop().await;
}

async fn acks_are_flushed_by_stop(subject: &BusSubject) {
    publish(subject, (0..100).map(|n| plain(n.to_string())).collect()).await;
    let subscription = subscribe(subject, options(subject)).await;
    for _ in 0..100 {
        next_within(subject.patience, &subscription).await.ack();
    }

    within(subject.patience, "stop", subscription.stop()).await;

    let later = subscribe(subject, later(subject)).await;
    let window = subject.ack_deadline + subject.ack_deadline / 2;
    never_within(window, "all were acked before stop ended", later.next()).await;
    later.stop().await;
}

async fn what_no_lane_took_is_given_back_by_stop(subject: &BusSubject) {
    let ids = publish(subject, (0..20).map(|n| plain(n.to_string())).collect()).await;
    let mut open: BTreeSet<String> = ids.into_iter().collect();
    let subscription = subscribe(subject, options(subject)).await;
    let taken = next_within(subject.patience, &subscription).await;
    open.remove(&taken.received.id);
    taken.ack();

    within(subject.patience, "stop", subscription.stop()).await;

    let later = subscribe(subject, later(subject)).await;
    while !open.is_empty() {
        let delivery = next_within(subject.patience, &later).await;
        assert!(open.remove(&delivery.received.id), "{} came though it was settled", delivery.received.id);
        delivery.ack();
    }
    later.stop().await;
}

async fn waiting_lanes_are_released_by_stop(subject: &BusSubject) {
    let subscription = subscribe(subject, options(subject)).await;
    let workers = join_all((0..8).map(|_| subscription.next()));

    let (_, ends) = within(subject.patience, "stop", async {
        tokio::join!(biased; async { tokio::task::yield_now().await; subscription.stop().await }, workers)
    })
    .await;

    assert!(ends.iter().all(Option::is_none));
    let after = within(subject.patience, "next after stop", subscription.next()).await;
    assert!(after.is_none());
}

async fn every_message_reaches_exactly_one_of_many_lanes(subject: &BusSubject) {
    let ids = publish(subject, (0..1_000).map(|n| plain(n.to_string())).collect()).await;
    let subscription = subscribe(subject, options(subject)).await;

    let arrived = Mutex::new(Vec::new());
    let done = tokio_util::sync::CancellationToken::new();
    let worker = || async {
        while let Some(Some(delivery)) = done.run_until_cancelled(subscription.next()).await {
            let mut arrived = arrived.lock().unwrap();
            arrived.push(delivery.received.id.clone());
            delivery.ack();
            if arrived.len() >= 1_000 {
                done.cancel();
            }
        }
    };
    within(subject.patience, "not all arrived", join_all((0..64).map(|_| worker()))).await;
    within(subject.patience, "stop", subscription.stop()).await;

    let mut arrived = arrived.into_inner().unwrap();
    arrived.sort();
    let mut expected = ids;
    expected.sort();
    assert_eq!(arrived, expected);
}

async fn a_cancelled_next_loses_no_message(subject: &BusSubject) {
    let subscription = subscribe(subject, options(subject)).await;
    let publishing = publish(subject, (0..200).map(|n| plain(n.to_string())).collect());
    let receiving = async {
        let mut arrived = BTreeSet::new();
        while arrived.len() < 200 {
            let wait = Duration::from_micros(200);
            if let Ok(Some(delivery)) = tokio::time::timeout(wait, subscription.next()).await {
                assert!(arrived.insert(delivery.received.id.clone()), "came twice");
                delivery.ack();
            }
        }
        arrived
    };

    let (ids, arrived) =
        within(subject.patience, "not all arrived", async { tokio::join!(publishing, receiving) }).await;

    assert_eq!(arrived, ids.into_iter().collect());
    subscription.stop().await;
}

async fn an_unknown_subscription_is_an_error_that_names_it(subject: &BusSubject) {
    let unknown = unique("nowhere");

    let outcome =
        within(subject.patience, "no answer", subject.bus.subscribe(&unknown, options(subject))).await;

    let error = outcome.err().expect("there is no such subscription");
    assert!(error.to_string().contains(&unknown), "{error}");
    assert!(matches!(error, BusError::Missing { .. } | BusError::Unavailable { .. }), "{error:?}");
}

async fn an_unknown_topic_is_an_error_that_names_it(subject: &BusSubject) {
    let unknown = unique("nowhere");

    // Either may say so; it must not be silence.
    let text = match subject.bus.publisher(&unknown, 1).await {
        Err(error) => error.to_string(),
        Ok(publisher) => {
            let receipt = publisher.publish(plain("to nobody")).await;
            within(subject.patience, "no answer", receipt).await.expect_err("no such topic").to_string()
        }
    };

    assert!(text.contains(&unknown), "{text}");
}

async fn a_topic_says_whether_anybody_keeps_what_is_published(subject: &BusSubject) {
    let states = [
        subject.bus.topic_state(&subject.topic).await.unwrap(),
        subject.bus.topic_state(&subject.unheard).await.unwrap(),
        subject.bus.topic_state(&unique("nowhere")).await.unwrap(),
    ];

    assert_eq!(states, [TopicState::Subscribed, TopicState::Unsubscribed, TopicState::Missing]);
}

async fn a_full_window_makes_the_publisher_wait(subject: &BusSubject) {
    let publisher = subject.bus.publisher(&subject.topic, 2).await.unwrap();
    let first = publisher.publish(plain("1")).await;
    let _second = publisher.publish(plain("2")).await;

    let mut third = Box::pin(publisher.publish(plain("3")));
    let early = async { drop(third.as_mut().await) };
    never_within(Duration::from_millis(300), "the window is full", early).await;
    within(subject.patience, "the first receipt", first).await.unwrap();

    let third = within(subject.patience, "a place is free, yet publish waits", third).await;
    within(subject.patience, "the third receipt", third).await.unwrap();
}

async fn a_dropped_receipt_gives_its_place_back_and_its_message_is_published(subject: &BusSubject) {
    let publisher = subject.bus.publisher(&subject.topic, 1).await.unwrap();
    drop(within(subject.patience, "the first place", publisher.publish(plain("unasked"))).await);

    let receipt = within(subject.patience, "a place is free", publisher.publish(plain("asked"))).await;
    within(subject.patience, "the receipt", receipt).await.unwrap();
    within(subject.patience, "flush", publisher.flush()).await;

    let subscription = subscribe(subject, options(subject)).await;
    let mut bodies = BTreeSet::new();
    for _ in 0..2 {
        let delivery = next_within(subject.patience, &subscription).await;
        bodies.insert(delivery.received.message.body.clone());
        delivery.ack();
    }
    assert_eq!(bodies, BTreeSet::from([Bytes::from("asked"), Bytes::from("unasked")]));
    subscription.stop().await;
}

async fn flush_waits_for_everything_handed_over(subject: &BusSubject) {
    let publisher = subject.bus.publisher(&subject.topic, 100).await.unwrap();
    let mut receipts = Vec::new();
    for n in 0..100 {
        receipts.push(publisher.publish(plain(n.to_string())).await);
    }

    within(subject.patience, "flush", publisher.flush()).await;

    let outcomes: Vec<_> = receipts.into_iter().map(FutureExt::now_or_never).collect();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Some(Ok(_)))), "{outcomes:?}");
}

async fn close_writes_what_was_handed_over(subject: &BusSubject) {
    let other = subject.bus.another().await;
    let publisher = other.publisher(&subject.topic, 10).await.unwrap();
    let receipt = publisher.publish(plain("last words")).await;

    within(subject.patience, "close", other.close()).await;
    drop((publisher, other));

    let subscription = subscribe(subject, options(subject)).await;
    let delivery = next_within(subject.patience, &subscription).await;
    assert_eq!(delivery.received.message, plain("last words"));
    delivery.ack();
    drop(receipt);
    subscription.stop().await;
}

async fn a_bus_says_what_it_is(subject: &BusSubject) {
    let said = subject.bus.describe();

    assert!(said.contains('/') || said.contains(':'), "neither a path nor a host: {said}");
}
