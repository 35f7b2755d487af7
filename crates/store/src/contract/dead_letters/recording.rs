//! The contract of the dead-letter store: recording and reading dead letters.

use ecom_domain::attributes::Attributes;
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterId, DeadLetterIdPrefix, DeadLetterProgress, DeadLetterRecord, DeadLetterState,
    EventKind, TRUNCATED_BODY, WHOLE_BODY_LIMIT,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::reason::Reason;

use super::{
    DAY, MS, NOW, SECOND, Store, dead_letter, own_days, own_dead_letter, read, received, recorded,
    schedule_update, state_update,
};
use crate::StoreError;

crate::contract_suite! { $ crate dead_letter_recording, crate::DeadLetterStore, dead_letter_recording_contract_tests: [
    an_unknown_dead_letter_is_none,
    dead_letters_are_found_by_the_beginning_of_their_ids,
    a_dead_letter_reads_back_whole,
    dead_letters_are_read_without_bodies_in_the_order_of_their_ids,
    a_dead_letter_about_nothing_readable_reads_back_whole,
    every_kind_and_reason_reads_back,
    times_are_kept_to_the_millisecond,
    any_body_reads_back_byte_for_byte,
    a_body_over_a_mebibyte_reads_back_as_what_was_kept_of_it,
    a_dead_letter_recorded_twice_is_as_if_recorded_once,
    a_late_copy_never_changes_the_state,
    a_late_copy_adds_its_entry_to_the_history,
    what_one_handle_recorded_another_reads,
] }

async fn an_unknown_dead_letter_is_none(store: &Store) {
    let unknown = own_dead_letter().id;

    assert_eq!(store.dead_letter(&unknown).await.unwrap(), None);
    assert_eq!(store.history(&unknown).await.unwrap(), []);
}

async fn dead_letters_are_found_by_the_beginning_of_their_ids(store: &Store) {
    let days = own_days();
    let id_of = |hash: &str| {
        let name = own_dead_letter_of(days).id;
        DeadLetterId::parse(&format!("{}{hash:0<32}", &name.as_str()[..12])).unwrap()
    };
    let with_state_only = id_of("0123fe");
    let ids = ["0123", "012301", "0123ff", "0124", "0122f"].map(id_of);
    for id in ids.iter().rev() {
        let dead_letter = DeadLetter { id: id.clone(), ..own_dead_letter_of(days) };
        recorded(store, &dead_letter, &[]).await;
    }
    let unrecorded = DeadLetter { id: with_state_only, ..own_dead_letter_of(days) };
    store.apply(&state_update(&unrecorded, 0, DeadLetterState::Discarded, NOW)).await.unwrap();
    let partition = &ids[0].as_str()[..12];
    for (hash, limit, expected) in [
        ("0123", 9, &ids[..3]),
        ("0123", 2, &ids[..2]),
        ("012301", 9, &ids[1..2]),
        ("0123f", 9, &ids[2..3]),
        ("0125", 9, &[]),
        (&ids[3].as_str()[12..], 9, &ids[3..4]),
    ] {
        let prefix = DeadLetterIdPrefix::parse(&format!("{partition}{hash}")).unwrap();
        assert_eq!(store.ids_with_prefix(&prefix, limit).await.unwrap(), expected, "{prefix}");
    }
}

/// Returns a dead letter of the first of these days.
fn own_dead_letter_of(days: i64) -> DeadLetter {
    dead_letter(days + SECOND, b"{}")
}

async fn a_dead_letter_reads_back_whole(store: &Store) {
    let dead_letter = DeadLetter {
        attributes: Attributes::from_iter([("empty", ""), ("näme", "it's \"wörth\" it \\ ✓")]),
        detail: "ü'\"".repeat(256),
        ..own_dead_letter()
    };

    store.record(&dead_letter, &received("receipt", NOW)).await.unwrap();

    let expected =
        DeadLetterRecord { dead_letter: dead_letter.clone(), progress: DeadLetterProgress::default() };
    assert_eq!(read(store, &dead_letter).await, expected);
    assert_eq!(store.history(&dead_letter.id).await.unwrap(), [received("receipt", NOW)]);
}

async fn dead_letters_are_read_without_bodies_in_the_order_of_their_ids(store: &Store) {
    let days = own_days();
    // Some share a partition, and some a day.
    let all: Vec<_> =
        (0..200).map(|n| dead_letter(days + n % 3 * DAY + n, format!("{n}").as_bytes())).collect();
    for dead_letter in &all {
        recorded(store, dead_letter, &[]).await;
    }
    let discard = state_update(&all[7], 0, DeadLetterState::Discarded, NOW);
    store.apply(&discard).await.unwrap();
    let unknown = own_dead_letter();
    store.apply(&schedule_update(&unknown, 1, NOW)).await.unwrap();
    let mut ids: Vec<_> = all.iter().rev().map(|dead_letter| dead_letter.id.clone()).collect();
    ids.insert(1, unknown.id.clone());
    ids.push(ids[0].clone());

    let read_brief = store.read_brief(&ids).await.unwrap();

    let mut expected = Vec::new();
    for id in &ids {
        let whole = store.dead_letter(id).await.unwrap();
        expected.push(whole.map(|mut record| {
            record.dead_letter.body.bytes.clear();
            record.dead_letter.attributes = Attributes::new();
            record
        }));
    }
    assert_eq!(read_brief, expected);
    assert_eq!((read_brief.len(), read_brief.iter().flatten().count()), (202, 201));
    assert_eq!(store.read_brief(&[]).await.unwrap(), []);
}

async fn a_dead_letter_about_nothing_readable_reads_back_whole(store: &Store) {
    let dead_letter = DeadLetter {
        attributes: Attributes::new(),
        reason: Reason::Undecodable,
        detail: String::new(),
        order_id: None,
        payment_id: None,
        ..dead_letter(own_days(), b"")
    };

    store.record(&dead_letter, &received("receipt", NOW)).await.unwrap();

    let expected =
        DeadLetterRecord { dead_letter: dead_letter.clone(), progress: DeadLetterProgress::default() };
    assert_eq!(read(store, &dead_letter).await, expected);
}

async fn every_kind_and_reason_reads_back(store: &Store) {
    let days = own_days();
    for (n, reason) in (0..).zip(Reason::ALL) {
        let t = EventTime::stored(days + n);
        let id = DeadLetterId::of(EventKind::Order, t, b"[]");
        let dead_letter = DeadLetter { id, kind: EventKind::Order, reason, t, ..dead_letter(days, b"[]") };
        store.record(&dead_letter, &received("receipt", NOW)).await.unwrap();

        assert_eq!(read(store, &dead_letter).await.dead_letter, dead_letter);
    }
}

async fn times_are_kept_to_the_millisecond(store: &Store) {
    let dead_letter = DeadLetter { first_failed_at: NOW + 1_999, ..own_dead_letter() };
    let updates = [
        state_update(&dead_letter, 0, DeadLetterState::Parked, NOW + 2_999),
        schedule_update(&dead_letter, 1, NOW + 3_999),
    ];
    store.record(&dead_letter, &received("receipt", NOW + 4_999)).await.unwrap();
    for update in &updates {
        store.apply(update).await.unwrap();
    }

    let record = read(store, &dead_letter).await;
    let entries = store.history(&dead_letter.id).await.unwrap();
    let times = [
        record.dead_letter.first_failed_at,
        record.progress.state_at.unwrap(),
        record.progress.next_attempt_at.unwrap() - SECOND,
        entries.last().unwrap().at,
    ];
    assert_eq!(times.map(|at| (at - NOW).div_euclid(MS)), [1, 2, 3, 4]);
}

async fn any_body_reads_back_byte_for_byte(store: &Store) {
    let days = own_days();
    let every_byte: Vec<u8> = (0..=255).collect();
    let bodies = [Vec::new(), b"\0".to_vec(), b"\xff\xfe not utf-8".to_vec(), every_byte.repeat(4_096)];
    for body in bodies {
        let dead_letter = dead_letter(days, &body);
        store.record(&dead_letter, &received("receipt", NOW)).await.unwrap();

        let kept = read(store, &dead_letter).await.dead_letter.body;
        assert!(kept.bytes == body && kept.is_whole(), "{kept:?}");
        assert_eq!(kept.length, body.len() as u64);
    }
}

async fn a_body_over_a_mebibyte_reads_back_as_what_was_kept_of_it(store: &Store) {
    let body = b"0123456789abcde\xff".repeat(WHOLE_BODY_LIMIT / 16 + 1);
    let dead_letter = dead_letter(own_days(), &body);

    store.record(&dead_letter, &received("receipt", NOW)).await.unwrap();

    let kept = read(store, &dead_letter).await.dead_letter.body;
    assert!(kept.bytes == body[..TRUNCATED_BODY] && kept == dead_letter.body, "{kept:?}");
}

async fn a_dead_letter_recorded_twice_is_as_if_recorded_once(store: &Store) {
    let dead_letter = own_dead_letter();
    recorded(store, &dead_letter, &[]).await;
    let once = (read(store, &dead_letter).await, store.history(&dead_letter.id).await.unwrap());

    recorded(store, &dead_letter, &[]).await;

    assert_eq!((read(store, &dead_letter).await, store.history(&dead_letter.id).await.unwrap()), once);
}

async fn a_late_copy_never_changes_the_state(store: &Store) {
    for state in DeadLetterState::ALL {
        let dead_letter = own_dead_letter();
        let updates = [schedule_update(&dead_letter, 3, NOW), state_update(&dead_letter, 0, state, NOW)];
        recorded(store, &dead_letter, &updates).await;
        let before = read(store, &dead_letter).await;

        store.record(&dead_letter, &received("late copy", NOW + DAY)).await.unwrap();

        assert_eq!(read(store, &dead_letter).await, before);
        assert_eq!(before.progress.state, Some(state));
    }
}

async fn a_late_copy_adds_its_entry_to_the_history(store: &Store) {
    let dead_letter = own_dead_letter();
    recorded(store, &dead_letter, &[]).await;

    store.record(&dead_letter, &received("late copy", NOW + MS)).await.unwrap();

    let entries = store.history(&dead_letter.id).await.unwrap();
    assert_eq!(entries, [received("receipt", NOW), received("late copy", NOW + MS)]);
}

async fn what_one_handle_recorded_another_reads(store: &Store) {
    let dead_letter = own_dead_letter();
    let other = store.another().await;
    recorded(store, &dead_letter, &[]).await;

    other.apply(&state_update(&dead_letter, 0, DeadLetterState::Discarded, NOW + MS)).await.unwrap();

    assert_eq!(read(store, &dead_letter).await.state(), DeadLetterState::Discarded);
    let through_the_other: Result<_, StoreError> = other.dead_letter(&dead_letter.id).await;
    assert_eq!(through_the_other.unwrap(), Some(read(store, &dead_letter).await));
}
