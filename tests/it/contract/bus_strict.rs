//! What the embedded bus keeps, and the emulator does not.

use std::collections::BTreeSet;
use std::time::Duration;

use ecom_bus::SubscribeOptions;

use super::BusSubject;
use super::bus::{options, patient, plain, publish, subscribe};
use crate::waiting::{never_within, next_within, within};

stamp! { bus on "embedded" embedded: [
    attempts_are_counted,
    two_consumers_of_one_subscription_share_its_messages,
    no_more_than_max_outstanding_is_handed_out,
    an_ack_of_a_consumer_frozen_past_its_lease_settles_nothing,
    publish_times_never_fall_in_the_order_of_publishing,
    what_no_lane_took_is_given_back_at_once_by_stop,
] }

async fn attempts_are_counted(subject: &BusSubject) {
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
    let ids = publish(subject, (0..200).map(|n| plain(n.to_string())).collect()).await;
    let long = patient(subject);
    let other = subject.bus.another().await;
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
    within(subject.patience, "not all arrived", receiving).await;

    arrived.sort();
    let mut expected: Vec<_> = ids.into_iter().map(|id| (id, 1)).collect();
    expected.sort();
    assert_eq!(arrived, expected);
    one.stop().await;
    two.stop().await;
}

async fn no_more_than_max_outstanding_is_handed_out(subject: &BusSubject) {
    publish(subject, (0..20).map(|n| plain(n.to_string())).collect()).await;
    let few = SubscribeOptions { max_outstanding: 5, ..options(subject) };
    let subscription = subscribe(subject, few).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(next_within(subject.patience, &subscription).await);
    }

    never_within(Duration::from_millis(500), "five are in the workers", subscription.next()).await;
    held.remove(0).ack();
    let sixth = next_within(subject.patience, &subscription).await;

    assert!(held.iter().all(|delivery| delivery.received.id != sixth.received.id));
    drop((held, sixth));
    subscription.stop().await;
}

async fn an_ack_of_a_consumer_frozen_past_its_lease_settles_nothing(subject: &BusSubject) {
    publish(subject, vec![plain("contested")]).await;
    let (taken, frozen) = tokio::sync::oneshot::channel();
    let (thaw, thawed) = std::sync::mpsc::channel();
    let other = subject.bus.another().await;
    let (name, options, patience) = (subject.subscription.clone(), options(subject), subject.patience);
    // Nothing polls this runtime between taking and acking, as if the process had been stopped.
    let frozen_life = tokio::task::spawn_blocking(move || {
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
    let id = within(subject.patience, "nothing was taken", frozen).await.unwrap();
    let subscription = subscribe(subject, options).await;
    let taken_over = next_within(subject.patience, &subscription).await;

    thaw.send(()).unwrap();
    within(subject.patience, "the late ack", frozen_life).await.unwrap();
    taken_over.nack();

    let again = next_within(subject.patience, &subscription).await;
    assert_eq!(again.received.id, id);
    again.ack();
    subscription.stop().await;
}

async fn publish_times_never_fall_in_the_order_of_publishing(subject: &BusSubject) {
    let other = subject.bus.another().await;
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

async fn what_no_lane_took_is_given_back_at_once_by_stop(subject: &BusSubject) {
    let ids = publish(subject, (0..20).map(|n| plain(n.to_string())).collect()).await;
    let long = patient(subject);
    let subscription = subscribe(subject, long).await;
    // One has arrived, so the buffer fills behind it.
    next_within(subject.patience, &subscription).await.nack();

    within(subject.patience, "stop", subscription.stop()).await;

    let later = subscribe(subject, long).await;
    let mut arrived = BTreeSet::new();
    while arrived.len() < ids.len() {
        let delivery = next_within(subject.patience, &later).await;
        arrived.insert(delivery.received.id.clone());
        delivery.ack();
    }
    assert_eq!(arrived, ids.into_iter().collect());
    later.stop().await;
}
