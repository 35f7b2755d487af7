//! The contract of the dead-letter store: dead letters of an order.

use std::sync::atomic::{AtomicI64, Ordering};

use ecom_domain::dead_letter::{DeadLetter, DeadLetterId, DeadLetterRecord, DeadLetterState, EventKind};
use ecom_domain::event_time::EventTime;
use ecom_domain::order::OrderId;
use futures_util::{StreamExt, TryStreamExt};

use super::{DAY, MS, NOW, SECOND, Store, dead_letter, own_days, received, schedule_update, state_update};

crate::contract_suite! { $ crate dead_letters_of_order, crate::DeadLetterStore, dead_letters_of_order_contract_tests: [
    an_order_without_dead_letters_has_none,
    dead_letters_of_an_order_are_read_whole_latest_first_and_no_others,
    all_dead_letters_of_one_event_time_are_read,
    dead_letters_beyond_a_page_are_read_in_order,
    dead_letters_with_large_bodies_are_read_whole,
    dead_letters_of_an_order_are_read_with_their_states,
    a_dead_letter_recorded_twice_is_read_once,
    a_dead_lettered_correction_names_the_dead_letter_it_corrects,
    an_update_without_its_dead_letter_is_skipped_until_the_dead_letter_is_recorded,
    a_removed_dead_letter_is_skipped_and_its_neighbour_is_not,
] }

/// Returns the id of an order that no other case uses.
pub(super) fn own_order() -> OrderId {
    static NEXT: AtomicI64 = AtomicI64::new(1_000_000);
    OrderId(NEXT.fetch_add(1, Ordering::Relaxed))
}

fn of_order(order: OrderId, t: i64, body: &[u8]) -> DeadLetter {
    DeadLetter { order_id: Some(order), ..dead_letter(t, body) }
}

async fn record(store: &Store, dead_letter: &DeadLetter) {
    store.record(dead_letter, &received("receipt", NOW)).await.unwrap();
}

async fn read(store: &Store, order: OrderId) -> Vec<DeadLetterRecord> {
    store.dead_letters_of_order(order).try_collect().await.unwrap()
}

async fn read_dead_letters(store: &Store, order: OrderId) -> Vec<DeadLetter> {
    read(store, order).await.into_iter().map(|record| record.dead_letter).collect()
}

async fn an_order_without_dead_letters_has_none(store: &Store) {
    let about_nothing = DeadLetter { order_id: None, ..dead_letter(own_days(), b"{") };
    record(store, &about_nothing).await;

    assert_eq!(read(store, own_order()).await, []);
}

async fn dead_letters_of_an_order_are_read_whole_latest_first_and_no_others(store: &Store) {
    let (days, order, neighbour) = (own_days(), own_order(), own_order());
    let times = [3 * DAY, 0, DAY + 1, DAY, 2 * DAY, DAY + SECOND];
    let mut expected = Vec::new();
    for after in times {
        let body = format!("body {after}");
        expected.push(of_order(order, days + after, body.as_bytes()));
        record(store, expected.last().unwrap()).await;
        record(store, &of_order(neighbour, days + after, body.as_bytes().repeat(2).as_slice())).await;
    }
    expected.sort_by_key(|dead_letter| std::cmp::Reverse(dead_letter.t));

    assert_eq!(read_dead_letters(store, order).await, expected);
    assert_eq!(read(store, neighbour).await.len(), times.len());
}

async fn all_dead_letters_of_one_event_time_are_read(store: &Store) {
    let (t, order) = (own_days(), own_order());
    for n in 0..40 {
        record(store, &of_order(order, t, format!("body {n}").as_bytes())).await;
    }

    let mut found: Vec<DeadLetterId> =
        read_dead_letters(store, order).await.into_iter().map(|dead_letter| dead_letter.id).collect();

    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 40);
}

async fn dead_letters_beyond_a_page_are_read_in_order(store: &Store) {
    const DEAD_LETTERS: i64 = 1_200;
    let (days, order) = (own_days(), own_order());
    // Some share their event time, so that a page ends among equals.
    let dead_letters: Vec<DeadLetter> =
        (0..DEAD_LETTERS).map(|n| of_order(order, days + n / 7, format!("body {n}").as_bytes())).collect();
    let receipt = received("receipt", NOW);
    futures_util::stream::iter(dead_letters.iter().map(|dead_letter| store.record(dead_letter, &receipt)))
        .buffer_unordered(64)
        .try_collect::<()>()
        .await
        .unwrap();

    let found = read_dead_letters(store, order).await;

    assert!(found.is_sorted_by_key(|dead_letter| std::cmp::Reverse(dead_letter.t)));
    let ids = |dead_letters: &[DeadLetter]| -> Vec<DeadLetterId> {
        let mut ids: Vec<DeadLetterId> =
            dead_letters.iter().map(|dead_letter| dead_letter.id.clone()).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(&found), ids(&dead_letters));
}

async fn dead_letters_with_large_bodies_are_read_whole(store: &Store) {
    let (days, order) = (own_days(), own_order());
    for n in 0..12_u8 {
        record(store, &of_order(order, days + i64::from(n), &vec![n; 1024 * 1024])).await;
    }

    let found = read_dead_letters(store, order).await;

    let firsts: Vec<u8> = found.iter().map(|dead_letter| dead_letter.body.bytes[0]).collect();
    assert_eq!(firsts, (0..12).rev().collect::<Vec<u8>>());
    assert!(found.iter().all(|dead_letter| dead_letter.body.bytes.len() == 1024 * 1024));
}

async fn dead_letters_of_an_order_are_read_with_their_states(store: &Store) {
    let (days, order) = (own_days(), own_order());
    let (waiting, closed) = (of_order(order, days, b"waiting"), of_order(order, days + DAY, b"closed"));
    for dead_letter in [&waiting, &closed] {
        record(store, dead_letter).await;
    }
    store.apply(&schedule_update(&waiting, 3, NOW)).await.unwrap();
    store.apply(&state_update(&closed, 1, DeadLetterState::Discarded, NOW)).await.unwrap();

    let expected = [
        store.dead_letter(&closed.id).await.unwrap().unwrap(),
        store.dead_letter(&waiting.id).await.unwrap().unwrap(),
    ];
    assert_eq!(read(store, order).await, expected);
    assert_eq!(expected.map(|record| record.state()), [DeadLetterState::Discarded, DeadLetterState::Waiting]);
}

async fn a_dead_letter_recorded_twice_is_read_once(store: &Store) {
    let (days, order) = (own_days(), own_order());
    let dead_letter = of_order(order, days, b"{}");
    record(store, &dead_letter).await;
    store.apply(&state_update(&dead_letter, 0, DeadLetterState::Parked, NOW)).await.unwrap();
    store.record(&dead_letter, &received("late copy", NOW + MS)).await.unwrap();

    let found = read(store, order).await;

    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].dead_letter, found[0].state()), (&dead_letter, DeadLetterState::Parked));
}

async fn a_dead_lettered_correction_names_the_dead_letter_it_corrects(store: &Store) {
    let (days, order) = (own_days(), own_order());
    let first = of_order(order, days, b"wrong");
    let t = EventTime::stored(days).correction(0);
    let id = DeadLetterId::of(EventKind::Payment, t, b"wrong again");
    let corrected =
        DeadLetter { id, t, corrects: Some(first.id.clone()), ..of_order(order, days + 1, b"wrong again") };
    for dead_letter in [&first, &corrected] {
        record(store, dead_letter).await;
    }

    assert_eq!(read_dead_letters(store, order).await, [corrected.clone(), first]);
    assert_eq!(store.dead_letter(&corrected.id).await.unwrap().unwrap().dead_letter, corrected);
}

async fn an_update_without_its_dead_letter_is_skipped_until_the_dead_letter_is_recorded(store: &Store) {
    let (days, order) = (own_days(), own_order());
    let dead_letter = of_order(order, days, b"late");
    store.apply(&state_update(&dead_letter, 0, DeadLetterState::Discarded, NOW)).await.unwrap();
    assert_eq!(read(store, order).await, []);

    record(store, &dead_letter).await;

    let found = read(store, order).await;
    assert_eq!((&found[0].dead_letter, found[0].state()), (&dead_letter, DeadLetterState::Discarded));
}

async fn a_removed_dead_letter_is_skipped_and_its_neighbour_is_not(store: &Store) {
    let (days, order) = (own_days(), own_order());
    let (gone, stays) = (of_order(order, days + 1, b"gone"), of_order(order, days, b"stays"));
    for dead_letter in [&gone, &stays] {
        record(store, dead_letter).await;
        store.apply(&state_update(dead_letter, 2, DeadLetterState::Recovered, NOW)).await.unwrap();
    }

    store.remove(&store.dead_letter(&gone.id).await.unwrap().unwrap()).await.unwrap();

    assert_eq!(read_dead_letters(store, order).await, [stays]);
}
