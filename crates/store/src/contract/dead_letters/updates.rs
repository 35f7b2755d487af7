//! The contract of the dead-letter store: updates of state and schedule.

use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterChange, DeadLetterId, DeadLetterProgress, DeadLetterState, DeadLetterUpdate,
    HistoryAction, HistoryEntry,
};

use super::{
    DAY, MS, NOW, SECOND, Store, dead_letter, own_days, own_dead_letter, own_scan, read, received, recorded,
    reopen_update, scanned, schedule_update, state_update,
};

crate::contract_suite! { $ crate dead_letter_updates, crate::DeadLetterStore, dead_letter_update_contract_tests: [
    of_two_states_the_higher_rank_wins_in_either_order_of_arrival,
    a_fast_clock_does_not_undo_a_discard,
    a_reopened_dead_letter_waits_again_in_either_order_of_arrival,
    a_late_state_of_an_older_generation_changes_nothing,
    of_two_schedules_the_later_attempt_wins_in_either_order_of_arrival,
    a_schedule_never_touches_the_state,
    a_state_never_touches_the_schedule,
    an_update_without_a_change_still_writes_its_entry,
    updates_written_together_are_as_if_written_one_by_one,
    an_update_of_an_unknown_dead_letter_creates_none,
] }

async fn of_two_states_the_higher_rank_wins_in_either_order_of_arrival(store: &Store) {
    for lower in DeadLetterState::ALL {
        for higher in DeadLetterState::ALL.into_iter().filter(|state| state.rank() > lower.rank()) {
            for (skew, higher_first) in [(-3, false), (-3, true), (3, false), (3, true)] {
                let dead_letter = own_dead_letter();
                let mut updates = [
                    state_update(&dead_letter, 0, lower, NOW),
                    state_update(&dead_letter, 0, higher, NOW + skew * SECOND),
                ];
                if higher_first {
                    updates.reverse();
                }
                recorded(store, &dead_letter, &updates).await;

                let progress = read(store, &dead_letter).await.progress;
                let context = format!("{lower:?} and {higher:?}, {skew} s apart, {higher_first}");
                assert_eq!(progress.state, Some(higher), "{context}");
                assert_eq!(progress.state_at, Some(NOW + skew * SECOND), "{context}");
            }
        }
    }
}

async fn a_fast_clock_does_not_undo_a_discard(store: &Store) {
    let dead_letter = own_dead_letter();
    let discard = state_update(&dead_letter, 0, DeadLetterState::Discarded, NOW);
    let by_a_fast_clock = state_update(&dead_letter, 0, DeadLetterState::Parked, NOW + 3 * MS * SECOND);

    recorded(store, &dead_letter, &[discard, by_a_fast_clock]).await;

    let record = read(store, &dead_letter).await;
    assert_eq!((record.state(), record.progress.state_at), (DeadLetterState::Discarded, Some(NOW)));
}

async fn a_reopened_dead_letter_waits_again_in_either_order_of_arrival(store: &Store) {
    for closed in [DeadLetterState::Parked, DeadLetterState::Discarded, DeadLetterState::Recovered] {
        for reopened_first in [false, true] {
            let dead_letter = own_dead_letter();
            let mut updates = [
                state_update(&dead_letter, 0, closed, NOW),
                // The clock of the writer that reopens is three seconds behind.
                state_update(&dead_letter, 1, DeadLetterState::Waiting, NOW - 3 * SECOND),
            ];
            if reopened_first {
                updates.reverse();
            }
            recorded(store, &dead_letter, &updates).await;

            let record = read(store, &dead_letter).await;
            assert_eq!(
                (record.state(), record.progress.generation),
                (DeadLetterState::Waiting, 1),
                "{closed:?}"
            );
        }
    }
}

async fn a_late_state_of_an_older_generation_changes_nothing(store: &Store) {
    let dead_letter = own_dead_letter();
    let updates = [
        state_update(&dead_letter, 0, DeadLetterState::Parked, NOW),
        state_update(&dead_letter, 1, DeadLetterState::Waiting, NOW + MS),
        state_update(&dead_letter, 2, DeadLetterState::Parked, NOW + 2 * MS),
    ];
    recorded(store, &dead_letter, &updates).await;
    let before = read(store, &dead_letter).await;

    for (generation, state) in
        [(0, DeadLetterState::Recovered), (1, DeadLetterState::Discarded), (1, DeadLetterState::Recovered)]
    {
        store.apply(&state_update(&dead_letter, generation, state, NOW + DAY)).await.unwrap();
    }

    assert_eq!(read(store, &dead_letter).await, before);
    assert_eq!((before.state(), before.progress.generation), (DeadLetterState::Parked, 2));
}

async fn of_two_schedules_the_later_attempt_wins_in_either_order_of_arrival(store: &Store) {
    for arrival in [[1, 2], [2, 1]] {
        let dead_letter = own_dead_letter();
        // The second attempt's clock is behind the first's.
        let at = |attempt: u32| NOW - i64::from(attempt) * 3 * SECOND;
        recorded(store, &dead_letter, &arrival.map(|n| schedule_update(&dead_letter, n, at(n)))).await;

        let progress = read(store, &dead_letter).await.progress;
        assert_eq!((progress.attempts, progress.next_attempt_at), (2, Some(at(2) + SECOND)), "{arrival:?}");
    }
}

async fn a_schedule_never_touches_the_state(store: &Store) {
    for state in DeadLetterState::ALL {
        let dead_letter = own_dead_letter();
        recorded(store, &dead_letter, &[state_update(&dead_letter, 0, state, NOW)]).await;

        store.apply(&schedule_update(&dead_letter, 100, NOW + DAY)).await.unwrap();

        let progress = read(store, &dead_letter).await.progress;
        let expected = DeadLetterProgress {
            state: Some(state),
            generation: 0,
            state_at: Some(NOW),
            attempts: 100,
            next_attempt_at: Some(NOW + DAY + SECOND),
        };
        assert_eq!(progress, expected);
    }
    let untouched = own_dead_letter();
    recorded(store, &untouched, &[schedule_update(&untouched, 1, NOW)]).await;
    assert_eq!(read(store, &untouched).await.progress.state, None);
}

async fn a_state_never_touches_the_schedule(store: &Store) {
    let dead_letter = own_dead_letter();
    recorded(store, &dead_letter, &[schedule_update(&dead_letter, 2, NOW)]).await;

    store.apply(&state_update(&dead_letter, 5, DeadLetterState::Recovered, NOW + DAY)).await.unwrap();

    let progress = read(store, &dead_letter).await.progress;
    assert_eq!((progress.attempts, progress.next_attempt_at), (2, Some(NOW + SECOND)));
}

async fn an_update_without_a_change_still_writes_its_entry(store: &Store) {
    let dead_letter = own_dead_letter();
    recorded(store, &dead_letter, &[state_update(&dead_letter, 0, DeadLetterState::Parked, NOW + MS)]).await;
    let before = read(store, &dead_letter).await;
    let entry = HistoryEntry { action: HistoryAction::Corrected, ..received("correction", NOW + 2 * MS) };

    let update = DeadLetterUpdate::new(&dead_letter, 0, DeadLetterChange::Nothing, entry.clone());
    store.apply(&update).await.unwrap();

    assert_eq!(read(store, &dead_letter).await, before);
    assert_eq!(store.history(&dead_letter.id).await.unwrap().last(), Some(&entry));
}

async fn updates_written_together_are_as_if_written_one_by_one(store: &Store) {
    let days = own_days();
    let all: Vec<_> =
        (0..60).map(|n| dead_letter(days + n % 2 * DAY + n, format!("{n}").as_bytes())).collect();
    for dead_letter in &all {
        recorded(store, dead_letter, &[state_update(dead_letter, 0, DeadLetterState::Parked, NOW)]).await;
    }
    let update = |(n, dead_letter): (usize, &DeadLetter)| match n % 4 {
        0 => state_update(dead_letter, 0, DeadLetterState::Discarded, NOW + SECOND),
        1 => schedule_update(dead_letter, 3, NOW + SECOND),
        2 => DeadLetterUpdate { change: DeadLetterChange::Nothing, ..schedule_update(dead_letter, 3, NOW) },
        _ => reopen_update(dead_letter, 1, NOW),
    };
    let mut updates: Vec<_> = all.iter().enumerate().map(update).collect();
    // Two of one dead letter: the one with the larger write timestamp wins, whatever their order.
    updates.insert(0, schedule_update(&all[1], 9, NOW + 2 * SECOND));

    store.apply_all(&updates).await.unwrap();
    store.apply_all(&[]).await.unwrap();

    for (n, dead_letter) in all.iter().enumerate() {
        let record = read(store, dead_letter).await;
        let progress = record.progress;
        let expected = match n % 4 {
            0 => (Some(DeadLetterState::Discarded), 0, 0),
            1 => (Some(DeadLetterState::Parked), 0, if n == 1 { 9 } else { 3 }),
            2 => (Some(DeadLetterState::Parked), 0, 0),
            _ => (Some(DeadLetterState::Waiting), 1, 0),
        };
        assert_eq!((progress.state, progress.generation, progress.attempts), expected, "{n}");
        let mut entries = updates.iter().filter(|update| update.dead_letter == dead_letter.id);
        let history = store.history(&dead_letter.id).await.unwrap();
        assert!(entries.all(|update| history.contains(&update.entry)), "{n}: {history:?}");
    }
}

async fn an_update_of_an_unknown_dead_letter_creates_none(store: &Store) {
    let days = own_days();
    let unknown = dead_letter(days, b"never recorded");
    store.apply(&state_update(&unknown, 0, DeadLetterState::Parked, NOW)).await.unwrap();
    store.apply(&schedule_update(&unknown, 1, NOW)).await.unwrap();
    // So that the scan reads the day.
    recorded(store, &dead_letter(days, b"recorded"), &[]).await;

    assert_eq!(store.dead_letter(&unknown.id).await.unwrap(), None);
    let found: Vec<DeadLetterId> =
        scanned(store, own_scan(days)).await.into_iter().map(|record| record.dead_letter.id).collect();
    assert_eq!(found, [dead_letter(days, b"recorded").id]);
}
