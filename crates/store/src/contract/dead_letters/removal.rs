//! The contract of the dead-letter store: removal.

use ecom_domain::dead_letter::{DeadLetter, DeadLetterRecord, DeadLetterState, DeadLetterUpdate};
use futures_util::TryStreamExt;

use super::{
    MS, NOW, SECOND, Store, dead_letter, of_order::own_order, own_days, own_dead_letter, own_scan, read,
    recorded, reopen_update, scanned, schedule_update, state_update,
};

crate::contract_suite! { $ crate dead_letter_removal, crate::DeadLetterStore, dead_letter_removal_contract_tests: [
    a_removed_dead_letter_is_gone_with_its_history,
    a_dead_letter_removed_twice_is_as_if_removed_once,
    an_older_dead_letter_recorded_after_a_neighbours_removal_is_visible,
    a_removal_by_a_stale_read_leaves_what_was_reopened,
    a_dead_letter_reopened_after_its_removal_is_whole,
] }

async fn a_removed_dead_letter_is_gone_with_its_history(store: &Store) {
    let days = own_days();
    let dead_letter = dead_letter(days, b"resolved");
    let updates = [
        schedule_update(&dead_letter, 50, NOW + MS),
        state_update(&dead_letter, 0, DeadLetterState::Parked, NOW + 2 * MS),
        state_update(&dead_letter, 1, DeadLetterState::Waiting, NOW + 3 * MS),
        state_update(&dead_letter, 1, DeadLetterState::Recovered, NOW + 4 * MS),
    ];
    recorded(store, &dead_letter, &updates).await;

    store.remove(&read(store, &dead_letter).await).await.unwrap();

    assert_eq!(store.dead_letter(&dead_letter.id).await.unwrap(), None);
    assert_eq!(store.history(&dead_letter.id).await.unwrap(), []);
    assert_eq!(scanned(store, own_scan(days)).await, []);
}

async fn a_dead_letter_removed_twice_is_as_if_removed_once(store: &Store) {
    let days = own_days();
    let dead_letter = dead_letter(days, b"resolved");
    recorded(store, &dead_letter, &[state_update(&dead_letter, 0, DeadLetterState::Recovered, NOW + MS)])
        .await;
    let record = read(store, &dead_letter).await;

    store.remove(&record).await.unwrap();
    store.remove(&record).await.unwrap();

    assert_eq!(scanned(store, own_scan(days)).await, []);
}

async fn an_older_dead_letter_recorded_after_a_neighbours_removal_is_visible(store: &Store) {
    let days = own_days();
    let removed = dead_letter(days + 3_600 * SECOND, b"removed");
    let older = (0..)
        .map(|n| dead_letter(days, format!("older {n}").as_bytes()))
        .find(|older| older.id.bucket() == removed.id.bucket())
        .unwrap();
    recorded(store, &removed, &[state_update(&removed, 0, DeadLetterState::Recovered, NOW + MS)]).await;
    store.remove(&read(store, &removed).await).await.unwrap();

    recorded(store, &older, &[state_update(&older, 0, DeadLetterState::Parked, NOW + 2 * MS)]).await;

    let found = scanned(store, own_scan(days)).await;
    assert_eq!(found, [read(store, &older).await]);
    assert_eq!(found[0].state(), DeadLetterState::Parked);
    assert_eq!(store.history(&older.id).await.unwrap().len(), 2);
}

/// Records a dead letter with many attempts, discards it, and returns it with the record that was read then.
async fn discarded(store: &Store) -> (DeadLetter, DeadLetterRecord) {
    let dead_letter = DeadLetter { order_id: Some(own_order()), ..own_dead_letter() };
    let updates = [
        schedule_update(&dead_letter, 50, NOW + MS),
        state_update(&dead_letter, 0, DeadLetterState::Discarded, NOW + 2 * MS),
    ];
    recorded(store, &dead_letter, &updates).await;
    let read = read(store, &dead_letter).await;
    (dead_letter, read)
}

/// Checks that the dead letter is whole, waiting, and found by its order; then that a removal of what it is now
/// leaves nothing.
async fn is_whole_until_removed(store: &Store, dead_letter: &DeadLetter, reopened: &DeadLetterUpdate) {
    let record = read(store, dead_letter).await;
    assert_eq!((&record.dead_letter, record.state()), (dead_letter, DeadLetterState::Waiting));
    let order = dead_letter.order_id.unwrap();
    let of_order: Vec<_> = store.dead_letters_of_order(order).try_collect().await.unwrap();
    assert_eq!(of_order, std::slice::from_ref(&record));
    assert_eq!(store.history(&dead_letter.id).await.unwrap().last(), Some(&reopened.entry));

    let recovered = state_update(dead_letter, 1, DeadLetterState::Recovered, NOW + 5 * MS);
    store.apply(&recovered).await.unwrap();
    store.remove(&read(store, dead_letter).await).await.unwrap();
    assert_eq!(store.dead_letter(&dead_letter.id).await.unwrap(), None);
    assert_eq!(store.history(&dead_letter.id).await.unwrap(), []);
    let of_order: Vec<_> = store.dead_letters_of_order(order).try_collect().await.unwrap();
    assert_eq!(of_order, []);
}

async fn a_removal_by_a_stale_read_leaves_what_was_reopened(store: &Store) {
    let (dead_letter, stale) = discarded(store).await;
    let reopened = reopen_update(&dead_letter, 1, NOW + 3 * MS);
    store.apply(&reopened).await.unwrap();

    store.remove(&stale).await.unwrap();

    is_whole_until_removed(store, &dead_letter, &reopened).await;
}

async fn a_dead_letter_reopened_after_its_removal_is_whole(store: &Store) {
    let (dead_letter, stale) = discarded(store).await;
    store.remove(&stale).await.unwrap();
    let reopened = reopen_update(&dead_letter, 1, NOW + 3 * MS);

    store.apply(&reopened).await.unwrap();

    is_whole_until_removed(store, &dead_letter, &reopened).await;
}
