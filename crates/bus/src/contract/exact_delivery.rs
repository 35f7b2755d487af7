//! The cases of a bus that delivers exactly, as the embedded one does and the Pub/Sub emulator does not.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fixture::{long_ack_deadline, numbered, options, plain, publish, subscribe};
use super::subject::BusSubject;
use super::waiting::{never_within, next_within, within};
use crate::SubscribeOptions;

suite! { $ exact_delivery
/// Makes every case of [`exact_delivery`](crate::contract::exact_delivery) a test, on the bus that the given
/// async function opens.
exact_delivery_contract_tests: [
    delivery_attempts_are_counted,
    two_consumers_of_one_subscription_share_its_messages,
    no_more_than_max_outstanding_is_handed_out,
    an_ack_after_the_ack_deadline_has_no_effect,
    publish_times_never_decrease_in_publishing_order,
    messages_that_no_worker_took_are_redelivered_at_once_after_stop,
] }

async fn delivery_attempts_are_counted(subject: &BusSubject) {
    publish(subject, vec![plain("thrice")]).await;
    let subscription = subscribe(subject, options(subject)).await;

    let mut attempts = Vec::new();
    for _ in 0..3 {
        let delivery = next_within(subject.patience, &subscription).await;
        attempts.push(delivery.received.attempt);
        delivery.nack();
    }

    assert_eq!(attempts, [1, 2, 3]);
    subscription.stop().await;
}

async fn two_consumers_of_one_subscription_share_its_messages(subject: &BusSubject) {
    let ids = publish(subject, numbered(200)).await;
    let long = long_ack_deadline(subject);
    let other = subject.another().await;
    let one = subscribe(subject, long).await;
    let two = other.subscribe(&subject.subscription, long).await.unwrap();

    let mut arrived = Vec::new();
    let receiving = async {
        while arrived.len() < 200 {
            let delivery = tokio::select! { one = one.next() => one, two = two.next() => two }.unwrap();
            arrived.push((delivery.received.id.clone(), delivery.received.attempt));
            delivery.ack();
        }
    };
    within(subject.patience, "all messages", receiving).await;

    arrived.sort();
    let mut expected: Vec<_> = ids.into_iter().map(|id| (id, 1)).collect();
    expected.sort();
    assert_eq!(arrived, expected);
    one.stop().await;
    two.stop().await;
}

async fn no_more_than_max_outstanding_is_handed_out(subject: &BusSubject) {
    publish(subject, numbered(20)).await;
    let few = SubscribeOptions { max_outstanding: 5, ..options(subject) };
    let subscription = subscribe(subject, few).await;
    let mut outstanding = Vec::new();
    for _ in 0..5 {
        outstanding.push(next_within(subject.patience, &subscription).await);
    }

    never_within(Duration::from_millis(500), "five are outstanding", subscription.next()).await;
    outstanding.remove(0).ack();
    let sixth = next_within(subject.patience, &subscription).await;

    assert!(outstanding.iter().all(|delivery| delivery.received.id != sixth.received.id));
    drop((outstanding, sixth));
    subscription.stop().await;
}

async fn an_ack_after_the_ack_deadline_has_no_effect(subject: &BusSubject) {
    publish(subject, vec![plain("contested")]).await;
    let (taken, frozen) = tokio::sync::oneshot::channel();
    let (thaw, thawed) = std::sync::mpsc::channel();
    let other = subject.another().await;
    let (name, options, patience) = (subject.subscription.clone(), options(subject), subject.patience);
    // Nothing polls this runtime between delivery and ack, as if the process were suspended.
    let frozen_consumer = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (subscription, delivery) = runtime.block_on(async {
            let subscription = other.subscribe(&name, options).await.unwrap();
            let delivery = next_within(patience, &subscription).await;
            (subscription, delivery)
        });
        taken.send(delivery.received.id.clone()).unwrap();
        thawed.recv().unwrap();
        delivery.ack();
        runtime.block_on(subscription.stop());
    });
    let id = within(subject.patience, "a delivery to the frozen consumer", frozen).await.unwrap();
    let subscription = subscribe(subject, options).await;
    let taken_over = next_within(subject.patience, &subscription).await;

    thaw.send(()).unwrap();
    within(subject.patience, "the late ack", frozen_consumer).await.unwrap();
    taken_over.nack();

    let again = next_within(subject.patience, &subscription).await;
    assert_eq!(again.received.id, id);
    again.ack();
    subscription.stop().await;
}

async fn publish_times_never_decrease_in_publishing_order(subject: &BusSubject) {
    let other = subject.another().await;
    let publishers = [
        subject.bus.publisher(&subject.topic, 10).await.unwrap(),
        other.publisher(&subject.topic, 10).await.unwrap(),
    ];
    let mut order = Vec::new();
    for n in 0..60 {
        let receipt = publishers[n % 2].publish(plain(n.to_string())).await;
        order.push(within(subject.patience, "the receipt", receipt).await.unwrap());
    }

    let subscription = subscribe(subject, options(subject)).await;
    let mut times = vec![0; order.len()];
    for _ in 0..order.len() {
        let delivery = next_within(subject.patience, &subscription).await;
        let place = order.iter().position(|id| *id == delivery.received.id).unwrap();
        times[place] = delivery.received.publish_time_us;
        delivery.ack();
    }

    assert!(times.is_sorted(), "{times:?}");
    subscription.stop().await;
}

async fn messages_that_no_worker_took_are_redelivered_at_once_after_stop(subject: &BusSubject) {
    let ids = publish(subject, numbered(20)).await;
    let long = long_ack_deadline(subject);
    let subscription = subscribe(subject, long).await;
    // One has arrived, so the buffer fills behind it.
    next_within(subject.patience, &subscription).await.nack();

    within(subject.patience, "stop", subscription.stop()).await;

    let next_consumer = subscribe(subject, long).await;
    let mut arrived = BTreeSet::new();
    while arrived.len() < ids.len() {
        let delivery = next_within(subject.patience, &next_consumer).await;
        arrived.insert(delivery.received.id.clone());
        delivery.ack();
    }
    assert_eq!(arrived, ids.into_iter().collect());
    next_consumer.stop().await;
}
