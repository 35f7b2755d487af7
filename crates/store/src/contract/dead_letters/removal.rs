//! The contract of the dead-letter store: removal.

use ecom_domain::dead_letter::DeadLetterState;

use super::{
    MS, NOW, SECOND, Store, dead_letter, own_days, own_scan, read, recorded, scanned, schedule_update,
    state_update,
};

suite! { $ dead_letter_removal, DeadLetterStore, dead_letter_removal_contract_tests: [
    a_removed_dead_letter_is_gone_with_its_history,
    a_dead_letter_removed_twice_is_as_if_removed_once,
    an_older_dead_letter_recorded_after_a_neighbours_removal_is_visible,
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
