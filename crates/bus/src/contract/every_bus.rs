//! The cases that every bus passes, the Pub/Sub emulator included.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;

use super::fixture::{long_ack_deadline, numbered, options, plain, publish, subscribe, successor};
use super::subject::{BusSubject, unique_name};
use super::waiting::{never_within, next_within, within};
use crate::{Attributes, BusError, Message, ReceivedMessage, TopicState};

suite! { $ every_bus
/// Makes every case of [`every_bus`](crate::contract::every_bus) a test, on the bus that the given async
/// function opens.
bus_contract_tests: [
    a_message_arrives_with_its_bytes_and_attributes_untouched,
    a_message_whose_receipt_resolved_is_readable_through_another_handle,
    a_nacked_message_is_redelivered_unchanged,
    a_dropped_delivery_is_redelivered,
    an_acked_message_is_not_redelivered,
    a_crashed_consumers_message_is_redelivered_after_its_ack_deadline,
    an_ack_deadline_is_extended_while_its_consumer_runs,
    stop_flushes_acks,
    messages_that_no_worker_took_are_redelivered_after_stop,
    stop_releases_waiting_workers,
    every_message_reaches_exactly_one_of_many_workers,
    a_cancelled_next_loses_no_message,
    an_unknown_subscription_is_an_error_that_names_it,
    an_unknown_topic_is_an_error_that_names_it,
    the_state_of_a_topic_says_whether_it_has_a_subscription,
    publish_waits_while_the_window_is_full,
    a_dropped_receipt_frees_its_place_and_its_message_is_published,
    flush_waits_for_all_receipts,
    close_publishes_pending_messages,
    the_description_names_the_location,
] }

/// Receives one message on a separate bus handle, runtime and thread, and crashes without an ack or a nack.
async fn receive_one_and_crash(subject: &BusSubject) -> ReceivedMessage {
    let open = Arc::clone(&subject.open);
    let (subscription, options, patience) =
        (subject.subscription.clone(), options(subject), subject.patience);
    let consumer = move || {
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
    tokio::task::spawn_blocking(consumer).await.unwrap()
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
    let other = subject.another().await;
    let id = publish(subject, vec![plain("durable")]).await.remove(0);

    let subscription = other.subscribe(&subject.subscription, options(subject)).await.unwrap();
    let delivery = next_within(subject.patience, &subscription).await;

    assert_eq!((&delivery.received.id, &delivery.received.message), (&id, &plain("durable")));
    delivery.ack();
    subscription.stop().await;
}

async fn a_nacked_message_is_redelivered_unchanged(subject: &BusSubject) {
    publish(subject, vec![plain("again")]).await;
    let subscription = subscribe(subject, long_ack_deadline(subject)).await;
    let first = next_within(subject.patience, &subscription).await;
    let before = first.received.clone();

    first.nack();
    let second = next_within(subject.patience, &subscription).await;

    let expected_attempt = if before.attempt == 0 { 0 } else { 2 };
    assert_eq!(second.received, ReceivedMessage { attempt: expected_attempt, ..before });
    second.ack();
    subscription.stop().await;
}

async fn a_dropped_delivery_is_redelivered(subject: &BusSubject) {
    publish(subject, vec![plain("dropped")]).await;
    let subscription = subscribe(subject, long_ack_deadline(subject)).await;
    let first = next_within(subject.patience, &subscription).await;
    let id = first.received.id.clone();

    drop(first);
    let second = next_within(subject.patience, &subscription).await;

    assert_eq!(second.received.id, id);
    second.ack();
    subscription.stop().await;
}

async fn an_acked_message_is_not_redelivered(subject: &BusSubject) {
    publish(subject, vec![plain("once")]).await;
    let subscription = subscribe(subject, options(subject)).await;

    next_within(subject.patience, &subscription).await.ack();

    let window = subject.ack_deadline + subject.ack_deadline / 2;
    never_within(window, "it was acked", subscription.next()).await;
    subscription.stop().await;
}

async fn a_crashed_consumers_message_is_redelivered_after_its_ack_deadline(subject: &BusSubject) {
    publish(subject, vec![plain("orphan")]).await;

    let lost = receive_one_and_crash(subject).await;

    let subscription = subscribe(subject, successor(subject)).await;
    let again = next_within(subject.patience, &subscription).await;
    assert_eq!((&again.received.id, again.received.publish_time_us), (&lost.id, lost.publish_time_us));
    again.ack();
    subscription.stop().await;
}

async fn an_ack_deadline_is_extended_while_its_consumer_runs(subject: &BusSubject) {
    publish(subject, vec![plain("slow")]).await;
    let subscription = subscribe(subject, options(subject)).await;
    let worked_on = next_within(subject.patience, &subscription).await;
    let other = subject.another().await;
    let rival = other.subscribe(&subject.subscription, options(subject)).await.unwrap();

    let either = futures_util::future::select(Box::pin(subscription.next()), Box::pin(rival.next()));
    let again = async { either.await.factor_first().0 };
    never_within(subject.ack_deadline * 5 / 2, "its consumer still works on it", again).await;

    worked_on.ack();
    subscription.stop().await;
    rival.stop().await;
}

async fn stop_flushes_acks(subject: &BusSubject) {
    publish(subject, numbered(100)).await;
    let subscription = subscribe(subject, options(subject)).await;
    for _ in 0..100 {
        next_within(subject.patience, &subscription).await.ack();
    }

    within(subject.patience, "stop", subscription.stop()).await;

    let next_consumer = subscribe(subject, successor(subject)).await;
    let window = subject.ack_deadline + subject.ack_deadline / 2;
    never_within(window, "stop flushed every ack", next_consumer.next()).await;
    next_consumer.stop().await;
}

async fn messages_that_no_worker_took_are_redelivered_after_stop(subject: &BusSubject) {
    let ids = publish(subject, numbered(20)).await;
    let mut open: BTreeSet<String> = ids.into_iter().collect();
    let subscription = subscribe(subject, options(subject)).await;
    let taken = next_within(subject.patience, &subscription).await;
    open.remove(&taken.received.id);
    taken.ack();

    within(subject.patience, "stop", subscription.stop()).await;

    let next_consumer = subscribe(subject, successor(subject)).await;
    while !open.is_empty() {
        let delivery = next_within(subject.patience, &next_consumer).await;
        assert!(
            open.remove(&delivery.received.id),
            "{} was redelivered although it was acked",
            delivery.received.id
        );
        delivery.ack();
    }
    next_consumer.stop().await;
}

async fn stop_releases_waiting_workers(subject: &BusSubject) {
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

async fn every_message_reaches_exactly_one_of_many_workers(subject: &BusSubject) {
    let ids = publish(subject, numbered(1_000)).await;
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
    within(subject.patience, "all messages", join_all((0..64).map(|_| worker()))).await;
    within(subject.patience, "stop", subscription.stop()).await;

    let mut arrived = arrived.into_inner().unwrap();
    arrived.sort();
    let mut expected = ids;
    expected.sort();
    assert_eq!(arrived, expected);
}

async fn a_cancelled_next_loses_no_message(subject: &BusSubject) {
    let subscription = subscribe(subject, options(subject)).await;
    let publishing = publish(subject, numbered(200));
    let receiving = async {
        let mut arrived = BTreeSet::new();
        while arrived.len() < 200 {
            let wait = Duration::from_micros(200);
            if let Ok(Some(delivery)) = tokio::time::timeout(wait, subscription.next()).await {
                assert!(arrived.insert(delivery.received.id.clone()), "delivered twice");
                delivery.ack();
            }
        }
        arrived
    };

    let (ids, arrived) =
        within(subject.patience, "all messages", async { tokio::join!(publishing, receiving) }).await;

    assert_eq!(arrived, ids.into_iter().collect());
    subscription.stop().await;
}

async fn an_unknown_subscription_is_an_error_that_names_it(subject: &BusSubject) {
    let unknown = unique_name("missing");

    let outcome =
        within(subject.patience, "an answer", subject.bus.subscribe(&unknown, options(subject))).await;

    let error = outcome.err().expect("the subscription does not exist");
    assert!(error.to_string().contains(&unknown), "{error}");
    assert!(matches!(error, BusError::Missing { .. } | BusError::Unavailable { .. }), "{error:?}");
}

async fn an_unknown_topic_is_an_error_that_names_it(subject: &BusSubject) {
    let unknown = unique_name("missing");

    // Opening the publisher or publishing may fail; one of them must.
    let text = match subject.bus.publisher(&unknown, 1).await {
        Err(error) => error.to_string(),
        Ok(publisher) => {
            let receipt = publisher.publish(plain("undeliverable")).await;
            within(subject.patience, "an answer", receipt).await.expect_err("no such topic").to_string()
        }
    };

    assert!(text.contains(&unknown), "{text}");
}

async fn the_state_of_a_topic_says_whether_it_has_a_subscription(subject: &BusSubject) {
    let states = [
        subject.bus.topic_state(&subject.topic).await.unwrap(),
        subject.bus.topic_state(&subject.unsubscribed_topic).await.unwrap(),
        subject.bus.topic_state(&unique_name("missing")).await.unwrap(),
    ];

    assert_eq!(states, [TopicState::Subscribed, TopicState::Unsubscribed, TopicState::Missing]);
}

async fn publish_waits_while_the_window_is_full(subject: &BusSubject) {
    let publisher = subject.bus.publisher(&subject.topic, 2).await.unwrap();
    let first = publisher.publish(plain("1")).await;
    let _second = publisher.publish(plain("2")).await;

    let mut third = Box::pin(publisher.publish(plain("3")));
    let early = async { drop(third.as_mut().await) };
    never_within(Duration::from_millis(300), "the window is full", early).await;
    within(subject.patience, "the first receipt", first).await.unwrap();

    let third = within(subject.patience, "a free place", third).await;
    within(subject.patience, "the third receipt", third).await.unwrap();
}

async fn a_dropped_receipt_frees_its_place_and_its_message_is_published(subject: &BusSubject) {
    let publisher = subject.bus.publisher(&subject.topic, 1).await.unwrap();
    drop(within(subject.patience, "a free place", publisher.publish(plain("dropped"))).await);

    let receipt = within(subject.patience, "a free place", publisher.publish(plain("kept"))).await;
    within(subject.patience, "the receipt", receipt).await.unwrap();
    within(subject.patience, "flush", publisher.flush()).await;

    let subscription = subscribe(subject, options(subject)).await;
    let mut bodies = BTreeSet::new();
    for _ in 0..2 {
        let delivery = next_within(subject.patience, &subscription).await;
        bodies.insert(delivery.received.message.body.clone());
        delivery.ack();
    }
    assert_eq!(bodies, BTreeSet::from([Bytes::from("kept"), Bytes::from("dropped")]));
    subscription.stop().await;
}

async fn flush_waits_for_all_receipts(subject: &BusSubject) {
    let publisher = subject.bus.publisher(&subject.topic, 100).await.unwrap();
    let mut receipts = Vec::new();
    for n in 0..100 {
        receipts.push(publisher.publish(plain(n.to_string())).await);
    }

    within(subject.patience, "flush", publisher.flush()).await;

    let outcomes: Vec<_> = receipts.into_iter().map(FutureExt::now_or_never).collect();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Some(Ok(_)))), "{outcomes:?}");
}

async fn close_publishes_pending_messages(subject: &BusSubject) {
    let other = subject.another().await;
    let publisher = other.publisher(&subject.topic, 10).await.unwrap();
    let receipt = publisher.publish(plain("pending")).await;

    within(subject.patience, "close", other.close()).await;
    drop((publisher, other));

    let subscription = subscribe(subject, options(subject)).await;
    let delivery = next_within(subject.patience, &subscription).await;
    assert_eq!(delivery.received.message, plain("pending"));
    delivery.ack();
    drop(receipt);
    subscription.stop().await;
}

async fn the_description_names_the_location(subject: &BusSubject) {
    let description = subject.bus.describe();

    assert!(description.contains(&subject.location), "{description} does not name {}", subject.location);
}
