//! What every dead-letter store keeps.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use ecom_domain::attributes::Attributes;
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterChange, DeadLetterId, DeadLetterProgress, DeadLetterRecord, DeadLetterState,
    DeadLetterUpdate, EventKind, HistoryAction, HistoryEntry, StoredBody, TRUNCATED_BODY, WHOLE_BODY_LIMIT,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_store::{DeadLetterStore, Scan, StoreError};
use futures_util::{StreamExt, TryStreamExt};

use super::Subject;

type Subjected = Subject<dyn DeadLetterStore>;

stamp! { dead_letter_store on "embedded" embedded, "cassandra" cassandra: [
    an_unknown_dead_letter_is_none,
    a_dead_letter_reads_back_whole,
    a_dead_letter_about_nothing_readable_reads_back_whole,
    every_kind_and_reason_reads_back,
    times_are_kept_to_the_millisecond,
    any_body_reads_back_byte_for_byte,
    a_body_over_a_mebibyte_reads_back_as_what_was_kept_of_it,
    a_dead_letter_recorded_twice_is_as_if_recorded_once,
    a_late_copy_never_changes_the_state,
    a_late_copy_adds_its_line_to_the_history,
    of_two_states_the_higher_rank_stays_in_either_order_of_arrival,
    a_fast_clock_does_not_undo_a_discard,
    a_reopened_dead_letter_waits_again_in_either_order_of_arrival,
    a_late_state_of_an_older_generation_changes_nothing,
    of_two_schedules_the_later_attempt_stays_in_either_order_of_arrival,
    a_schedule_never_touches_the_state,
    a_state_never_touches_the_schedule,
    an_act_that_changes_nothing_still_leaves_its_line,
    a_history_reads_oldest_first_and_keeps_every_field,
    a_history_line_written_twice_is_one_line,
    a_message_recorded_again_at_another_time_leaves_one_line,
    an_act_that_lost_is_still_in_the_history,
    an_act_on_an_unknown_dead_letter_makes_no_dead_letter,
    a_scan_yields_every_dead_letter_of_every_day_and_bucket_once,
    a_scan_reads_the_newest_day_first,
    a_scan_keeps_to_its_bounds,
    a_brief_scan_has_lengths_but_neither_bodies_nor_attributes,
    a_scan_shows_states_and_schedules,
    a_removed_dead_letter_is_gone_with_its_history,
    a_dead_letter_removed_twice_is_as_if_removed_once,
    an_older_dead_letter_recorded_after_a_neighbours_removal_is_visible,
    what_one_handle_recorded_another_reads,
] }

/// As finely as a wall clock is kept.
pub const MS: i64 = 1_000;
pub const SECOND: i64 = 1_000 * MS;
pub const DAY: i64 = 24 * 3_600 * SECOND;
/// When the acts happen, by an honest clock.
pub const NOW: i64 = 1_750_000_000 * SECOND;

/// Midnight before ten days that no other case has.
pub fn own_days() -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(0);
    (11_000 + 10 * NEXT.fetch_add(1, Ordering::Relaxed)) * DAY
}

/// A dead letter of its own days, waiting for its order.
pub fn own_dead_letter() -> DeadLetter {
    dead_letter(own_days() + 12 * 3_600 * SECOND, b"{\"payment_id\":1}")
}

/// The dead letter of this T and body, waiting for its order.
pub fn dead_letter(t: i64, body: &[u8]) -> DeadLetter {
    let (t, body) = (EventTime::stored(t), Bytes::copy_from_slice(body));
    DeadLetter {
        id: DeadLetterId::of(EventKind::Payment, t, &body),
        kind: EventKind::Payment,
        t,
        body: StoredBody::keep(&body),
        attributes: Attributes::from_iter([
            ("dlq_attempt", "1".into()),
            ("event_time_us", t.micros().to_string()),
        ]),
        reason: Reason::OrderNotFound,
        detail: "order_id: no order with this id".into(),
        order_id: Some(OrderId(17)),
        payment_id: Some(4),
        first_failed_at: NOW,
        corrects: None,
    }
}

pub fn received(entry_id: &str, at: i64) -> HistoryEntry {
    HistoryEntry {
        at,
        entry_id: entry_id.into(),
        action: HistoryAction::ReceivedMessage,
        outcome: "recorded".into(),
        actor: "dlq_handler".into(),
        host: "worker-1".into(),
        note: None,
        run_id: None,
    }
}

/// The act that puts the dead letter into this state.
pub fn state_act(
    dead_letter: &DeadLetter,
    generation: u32,
    state: DeadLetterState,
    at: i64,
) -> DeadLetterUpdate {
    let action = match state {
        DeadLetterState::Waiting => HistoryAction::Reopened,
        DeadLetterState::Parked => HistoryAction::Parked,
        DeadLetterState::Discarded => HistoryAction::Discarded,
        DeadLetterState::Recovered => HistoryAction::Recovered,
    };
    let entry_id = format!("{}-{generation}-{at}", state.as_str());
    DeadLetterUpdate {
        dead_letter: dead_letter.id.clone(),
        t: dead_letter.t,
        change: DeadLetterChange::State { generation, state, at },
        entry: HistoryEntry { action, ..received(&entry_id, at) },
    }
}

/// The act that schedules the dead letter's next attempt a second later.
pub fn schedule_act(dead_letter: &DeadLetter, attempts: u32, at: i64) -> DeadLetterUpdate {
    DeadLetterUpdate {
        dead_letter: dead_letter.id.clone(),
        t: dead_letter.t,
        change: DeadLetterChange::Schedule { attempts, next_attempt_at: at + SECOND },
        entry: HistoryEntry {
            action: HistoryAction::Attempted,
            ..received(&format!("attempt-{attempts}-{at}"), at)
        },
    }
}

async fn read(dead_letter_store: &Subjected, dead_letter: &DeadLetter) -> DeadLetterRecord {
    dead_letter_store.dead_letter(&dead_letter.id).await.unwrap().expect("the dead letter is there")
}

/// Records the dead letter and acts on it in this order.
async fn recorded(dead_letter_store: &Subjected, dead_letter: &DeadLetter, acts: &[DeadLetterUpdate]) {
    dead_letter_store.record(dead_letter, &received("receipt", NOW)).await.unwrap();
    for act in acts {
        dead_letter_store.act(act).await.unwrap();
    }
}

async fn scanned(dead_letter_store: &Subjected, scan: Scan) -> Vec<DeadLetterRecord> {
    dead_letter_store.dead_letters(scan).try_collect().await.unwrap()
}

/// The scan of the ten days from `first` on.
fn own_scan(first: i64) -> Scan {
    Scan {
        from: Some(EventTime::stored(first)),
        until: Some(EventTime::stored(first + 10 * DAY)),
        bodies: true,
    }
}

async fn an_unknown_dead_letter_is_none(dead_letter_store: &Subjected) {
    let unknown = own_dead_letter().id;

    assert_eq!(dead_letter_store.dead_letter(&unknown).await.unwrap(), None);
    assert_eq!(dead_letter_store.history(&unknown).await.unwrap(), []);
}

async fn a_dead_letter_reads_back_whole(dead_letter_store: &Subjected) {
    let dead_letter = DeadLetter {
        attributes: Attributes::from_iter([("empty", ""), ("näme", "it's \"wörth\" it \\ ✓")]),
        detail: "ü'\"".repeat(256),
        ..own_dead_letter()
    };

    dead_letter_store.record(&dead_letter, &received("receipt", NOW)).await.unwrap();

    let expected =
        DeadLetterRecord { dead_letter: dead_letter.clone(), progress: DeadLetterProgress::default() };
    assert_eq!(read(dead_letter_store, &dead_letter).await, expected);
    assert_eq!(dead_letter_store.history(&dead_letter.id).await.unwrap(), [received("receipt", NOW)]);
}

async fn a_dead_letter_about_nothing_readable_reads_back_whole(dead_letter_store: &Subjected) {
    let dead_letter = DeadLetter {
        attributes: Attributes::new(),
        reason: Reason::Undecodable,
        detail: String::new(),
        order_id: None,
        payment_id: None,
        ..dead_letter(own_days(), b"")
    };

    dead_letter_store.record(&dead_letter, &received("receipt", NOW)).await.unwrap();

    let expected =
        DeadLetterRecord { dead_letter: dead_letter.clone(), progress: DeadLetterProgress::default() };
    assert_eq!(read(dead_letter_store, &dead_letter).await, expected);
}

async fn every_kind_and_reason_reads_back(dead_letter_store: &Subjected) {
    let days = own_days();
    for (n, reason) in (0..).zip(Reason::ALL) {
        let t = EventTime::stored(days + n);
        let id = DeadLetterId::of(EventKind::Order, t, b"[]");
        let dead_letter = DeadLetter { id, kind: EventKind::Order, reason, t, ..dead_letter(days, b"[]") };
        dead_letter_store.record(&dead_letter, &received("receipt", NOW)).await.unwrap();

        assert_eq!(read(dead_letter_store, &dead_letter).await.dead_letter, dead_letter);
    }
}

async fn times_are_kept_to_the_millisecond(dead_letter_store: &Subjected) {
    let dead_letter = DeadLetter { first_failed_at: NOW + 1_999, ..own_dead_letter() };
    let acts = [
        state_act(&dead_letter, 0, DeadLetterState::Parked, NOW + 2_999),
        schedule_act(&dead_letter, 1, NOW + 3_999),
    ];
    dead_letter_store.record(&dead_letter, &received("receipt", NOW + 4_999)).await.unwrap();
    for act in &acts {
        dead_letter_store.act(act).await.unwrap();
    }

    let record = read(dead_letter_store, &dead_letter).await;
    let lines = dead_letter_store.history(&dead_letter.id).await.unwrap();
    let times = [
        record.dead_letter.first_failed_at,
        record.progress.state_at.unwrap(),
        record.progress.next_attempt_at.unwrap() - SECOND,
        lines.last().unwrap().at,
    ];
    assert_eq!(times.map(|at| (at - NOW).div_euclid(MS)), [1, 2, 3, 4]);
}

async fn any_body_reads_back_byte_for_byte(dead_letter_store: &Subjected) {
    let days = own_days();
    let every_byte: Vec<u8> = (0..=255).collect();
    let bodies = [Vec::new(), b"\0".to_vec(), b"\xff\xfe not utf-8".to_vec(), every_byte.repeat(4_096)];
    for body in bodies {
        let dead_letter = dead_letter(days, &body);
        dead_letter_store.record(&dead_letter, &received("receipt", NOW)).await.unwrap();

        let kept = read(dead_letter_store, &dead_letter).await.dead_letter.body;
        assert!(kept.bytes == body && kept.is_whole(), "{kept:?}");
        assert_eq!(kept.length, body.len() as u64);
    }
}

async fn a_body_over_a_mebibyte_reads_back_as_what_was_kept_of_it(dead_letter_store: &Subjected) {
    let body = b"0123456789abcde\xff".repeat(WHOLE_BODY_LIMIT / 16 + 1);
    let dead_letter = dead_letter(own_days(), &body);

    dead_letter_store.record(&dead_letter, &received("receipt", NOW)).await.unwrap();

    let kept = read(dead_letter_store, &dead_letter).await.dead_letter.body;
    assert!(kept.bytes == body[..TRUNCATED_BODY] && kept == dead_letter.body, "{kept:?}");
}

async fn a_dead_letter_recorded_twice_is_as_if_recorded_once(dead_letter_store: &Subjected) {
    let dead_letter = own_dead_letter();
    recorded(dead_letter_store, &dead_letter, &[]).await;
    let once = (
        read(dead_letter_store, &dead_letter).await,
        dead_letter_store.history(&dead_letter.id).await.unwrap(),
    );

    recorded(dead_letter_store, &dead_letter, &[]).await;

    assert_eq!(
        (
            read(dead_letter_store, &dead_letter).await,
            dead_letter_store.history(&dead_letter.id).await.unwrap()
        ),
        once
    );
}

async fn a_late_copy_never_changes_the_state(dead_letter_store: &Subjected) {
    for state in DeadLetterState::ALL {
        let dead_letter = own_dead_letter();
        let acts = [schedule_act(&dead_letter, 3, NOW), state_act(&dead_letter, 0, state, NOW)];
        recorded(dead_letter_store, &dead_letter, &acts).await;
        let before = read(dead_letter_store, &dead_letter).await;

        dead_letter_store.record(&dead_letter, &received("late copy", NOW + DAY)).await.unwrap();

        assert_eq!(read(dead_letter_store, &dead_letter).await, before);
        assert_eq!(before.progress.state, Some(state));
    }
}

async fn a_late_copy_adds_its_line_to_the_history(dead_letter_store: &Subjected) {
    let dead_letter = own_dead_letter();
    recorded(dead_letter_store, &dead_letter, &[]).await;

    dead_letter_store.record(&dead_letter, &received("late copy", NOW + MS)).await.unwrap();

    let lines = dead_letter_store.history(&dead_letter.id).await.unwrap();
    assert_eq!(lines, [received("receipt", NOW), received("late copy", NOW + MS)]);
}

async fn of_two_states_the_higher_rank_stays_in_either_order_of_arrival(dead_letter_store: &Subjected) {
    for lower in DeadLetterState::ALL {
        for higher in DeadLetterState::ALL.into_iter().filter(|state| state.rank() > lower.rank()) {
            for (skew, higher_first) in [(-3, false), (-3, true), (3, false), (3, true)] {
                let dead_letter = own_dead_letter();
                let mut acts = [
                    state_act(&dead_letter, 0, lower, NOW),
                    state_act(&dead_letter, 0, higher, NOW + skew * SECOND),
                ];
                if higher_first {
                    acts.reverse();
                }
                recorded(dead_letter_store, &dead_letter, &acts).await;

                let progress = read(dead_letter_store, &dead_letter).await.progress;
                let told = format!("{lower:?} and {higher:?}, {skew} s apart, {higher_first}");
                assert_eq!(progress.state, Some(higher), "{told}");
                assert_eq!(progress.state_at, Some(NOW + skew * SECOND), "{told}");
            }
        }
    }
}

async fn a_fast_clock_does_not_undo_a_discard(dead_letter_store: &Subjected) {
    let dead_letter = own_dead_letter();
    let discard = state_act(&dead_letter, 0, DeadLetterState::Discarded, NOW);
    let by_a_fast_clock = state_act(&dead_letter, 0, DeadLetterState::Parked, NOW + 3 * MS * SECOND);

    recorded(dead_letter_store, &dead_letter, &[discard, by_a_fast_clock]).await;

    let record = read(dead_letter_store, &dead_letter).await;
    assert_eq!((record.state(), record.progress.state_at), (DeadLetterState::Discarded, Some(NOW)));
}

async fn a_reopened_dead_letter_waits_again_in_either_order_of_arrival(dead_letter_store: &Subjected) {
    for closed in [DeadLetterState::Parked, DeadLetterState::Discarded, DeadLetterState::Recovered] {
        for reopened_first in [false, true] {
            let dead_letter = own_dead_letter();
            let mut acts = [
                state_act(&dead_letter, 0, closed, NOW),
                // The clock that reopens is three seconds behind.
                state_act(&dead_letter, 1, DeadLetterState::Waiting, NOW - 3 * SECOND),
            ];
            if reopened_first {
                acts.reverse();
            }
            recorded(dead_letter_store, &dead_letter, &acts).await;

            let record = read(dead_letter_store, &dead_letter).await;
            assert_eq!(
                (record.state(), record.progress.generation),
                (DeadLetterState::Waiting, 1),
                "{closed:?}"
            );
        }
    }
}

async fn a_late_state_of_an_older_generation_changes_nothing(dead_letter_store: &Subjected) {
    let dead_letter = own_dead_letter();
    let acts = [
        state_act(&dead_letter, 0, DeadLetterState::Parked, NOW),
        state_act(&dead_letter, 1, DeadLetterState::Waiting, NOW + MS),
        state_act(&dead_letter, 2, DeadLetterState::Parked, NOW + 2 * MS),
    ];
    recorded(dead_letter_store, &dead_letter, &acts).await;
    let before = read(dead_letter_store, &dead_letter).await;

    for (generation, state) in
        [(0, DeadLetterState::Recovered), (1, DeadLetterState::Discarded), (1, DeadLetterState::Recovered)]
    {
        dead_letter_store.act(&state_act(&dead_letter, generation, state, NOW + DAY)).await.unwrap();
    }

    assert_eq!(read(dead_letter_store, &dead_letter).await, before);
    assert_eq!((before.state(), before.progress.generation), (DeadLetterState::Parked, 2));
}

async fn of_two_schedules_the_later_attempt_stays_in_either_order_of_arrival(dead_letter_store: &Subjected) {
    for arrival in [[1, 2], [2, 1]] {
        let dead_letter = own_dead_letter();
        // The second attempt's clock is behind the first's.
        let at = |attempt: u32| NOW - i64::from(attempt) * 3 * SECOND;
        recorded(dead_letter_store, &dead_letter, &arrival.map(|n| schedule_act(&dead_letter, n, at(n))))
            .await;

        let progress = read(dead_letter_store, &dead_letter).await.progress;
        assert_eq!((progress.attempts, progress.next_attempt_at), (2, Some(at(2) + SECOND)), "{arrival:?}");
    }
}

async fn a_schedule_never_touches_the_state(dead_letter_store: &Subjected) {
    for state in DeadLetterState::ALL {
        let dead_letter = own_dead_letter();
        recorded(dead_letter_store, &dead_letter, &[state_act(&dead_letter, 0, state, NOW)]).await;

        dead_letter_store.act(&schedule_act(&dead_letter, 100, NOW + DAY)).await.unwrap();

        let progress = read(dead_letter_store, &dead_letter).await.progress;
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
    recorded(dead_letter_store, &untouched, &[schedule_act(&untouched, 1, NOW)]).await;
    assert_eq!(read(dead_letter_store, &untouched).await.progress.state, None);
}

async fn a_state_never_touches_the_schedule(dead_letter_store: &Subjected) {
    let dead_letter = own_dead_letter();
    recorded(dead_letter_store, &dead_letter, &[schedule_act(&dead_letter, 2, NOW)]).await;

    dead_letter_store.act(&state_act(&dead_letter, 5, DeadLetterState::Recovered, NOW + DAY)).await.unwrap();

    let progress = read(dead_letter_store, &dead_letter).await.progress;
    assert_eq!((progress.attempts, progress.next_attempt_at), (2, Some(NOW + SECOND)));
}

async fn an_act_that_changes_nothing_still_leaves_its_line(dead_letter_store: &Subjected) {
    let dead_letter = own_dead_letter();
    recorded(
        dead_letter_store,
        &dead_letter,
        &[state_act(&dead_letter, 0, DeadLetterState::Parked, NOW + MS)],
    )
    .await;
    let before = read(dead_letter_store, &dead_letter).await;
    let entry =
        HistoryEntry { action: HistoryAction::CorrectionResult, ..received("correction", NOW + 2 * MS) };

    let act = DeadLetterUpdate {
        dead_letter: dead_letter.id.clone(),
        t: dead_letter.t,
        change: DeadLetterChange::Nothing,
        entry: entry.clone(),
    };
    dead_letter_store.act(&act).await.unwrap();

    assert_eq!(read(dead_letter_store, &dead_letter).await, before);
    assert_eq!(dead_letter_store.history(&dead_letter.id).await.unwrap().last(), Some(&entry));
}

async fn a_history_reads_oldest_first_and_keeps_every_field(dead_letter_store: &Subjected) {
    let dead_letter = own_dead_letter();
    dead_letter_store.record(&dead_letter, &received("receipt", NOW)).await.unwrap();
    let mut lines = vec![received("receipt", NOW)];
    // Written newest first.
    for (n, action) in (1..).zip(HistoryAction::ALL).collect::<Vec<_>>().into_iter().rev() {
        let entry = HistoryEntry {
            at: NOW + n * MS,
            entry_id: format!("entry {n}"),
            action,
            outcome: format!("outcome {n}: it's \"ünï\""),
            actor: format!("operator {n}"),
            host: format!("host-{n}"),
            note: (n % 2 == 0).then(|| format!("note {n}")),
            run_id: (n % 3 == 0).then(|| format!("run {n}")),
        };
        let act = DeadLetterUpdate {
            dead_letter: dead_letter.id.clone(),
            t: dead_letter.t,
            change: DeadLetterChange::Nothing,
            entry: entry.clone(),
        };
        dead_letter_store.act(&act).await.unwrap();
        lines.insert(1, entry);
    }

    assert_eq!(dead_letter_store.history(&dead_letter.id).await.unwrap(), lines);
}

async fn a_history_line_written_twice_is_one_line(dead_letter_store: &Subjected) {
    let dead_letter = own_dead_letter();
    let act = state_act(&dead_letter, 0, DeadLetterState::Parked, NOW + MS);

    recorded(dead_letter_store, &dead_letter, &[act.clone(), act.clone()]).await;

    assert_eq!(
        dead_letter_store.history(&dead_letter.id).await.unwrap(),
        [received("receipt", NOW), act.entry]
    );
}

async fn a_message_recorded_again_at_another_time_leaves_one_line(dead_letter_store: &Subjected) {
    let dead_letter = own_dead_letter();

    // As a redelivery does: the same entry by its id, at the time it came again.
    dead_letter_store.record(&dead_letter, &received("receipt", NOW)).await.unwrap();
    dead_letter_store.record(&dead_letter, &received("receipt", NOW + SECOND)).await.unwrap();

    let lines = dead_letter_store.history(&dead_letter.id).await.unwrap();
    assert_eq!(lines.len(), 1, "{lines:#?}");
}

async fn an_act_that_lost_is_still_in_the_history(dead_letter_store: &Subjected) {
    let dead_letter = own_dead_letter();
    let discard = state_act(&dead_letter, 0, DeadLetterState::Discarded, NOW + MS);
    let late = state_act(&dead_letter, 0, DeadLetterState::Parked, NOW + 2 * MS);

    recorded(dead_letter_store, &dead_letter, &[discard.clone(), late.clone()]).await;

    let lines = dead_letter_store.history(&dead_letter.id).await.unwrap();
    assert_eq!(lines, [received("receipt", NOW), discard.entry, late.entry]);
}

async fn an_act_on_an_unknown_dead_letter_makes_no_dead_letter(dead_letter_store: &Subjected) {
    let days = own_days();
    let unknown = dead_letter(days, b"never recorded");
    dead_letter_store.act(&state_act(&unknown, 0, DeadLetterState::Parked, NOW)).await.unwrap();
    dead_letter_store.act(&schedule_act(&unknown, 1, NOW)).await.unwrap();
    // So that the scan looks into the day.
    recorded(dead_letter_store, &dead_letter(days, b"recorded"), &[]).await;

    assert_eq!(dead_letter_store.dead_letter(&unknown.id).await.unwrap(), None);
    let found: Vec<DeadLetterId> = scanned(dead_letter_store, own_scan(days))
        .await
        .into_iter()
        .map(|record| record.dead_letter.id)
        .collect();
    assert_eq!(found, [dead_letter(days, b"recorded").id]);
}

async fn a_scan_yields_every_dead_letter_of_every_day_and_bucket_once(dead_letter_store: &Subjected) {
    const DEAD_LETTERS: i64 = 2_000;
    let days = own_days();
    let expected: Vec<DeadLetter> = (0..DEAD_LETTERS)
        .map(|n| dead_letter(days + n % 3 * DAY + n * SECOND, format!("body {n}").as_bytes()))
        .collect();
    let buckets: BTreeSet<i16> = expected.iter().map(|dead_letter| dead_letter.id.bucket()).collect();
    assert_eq!(buckets.len(), 16);
    let receipt = received("receipt", NOW);
    futures_util::stream::iter(
        expected.iter().map(|dead_letter| dead_letter_store.record(dead_letter, &receipt)),
    )
    .buffer_unordered(64)
    .try_collect::<()>()
    .await
    .unwrap();

    let bounded = scanned(dead_letter_store, own_scan(days)).await;
    let mut of_all = scanned(dead_letter_store, Scan::ALL).await;
    of_all.retain(|record| own_scan(days).wants(record.dead_letter.t));

    for mut found in [bounded, of_all] {
        found.sort_by_key(|record| record.dead_letter.t);
        let mut expected = expected.clone();
        expected.sort_by_key(|dead_letter| dead_letter.t);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!((&found.dead_letter, &found.progress), (expected, &DeadLetterProgress::default()));
        }
    }
}

async fn a_scan_reads_the_newest_day_first(dead_letter_store: &Subjected) {
    let days = own_days();
    for n in [1, 0, 2, 1, 2, 0] {
        recorded(dead_letter_store, &dead_letter(days + n * DAY + n, format!("body {n}").as_bytes()), &[])
            .await;
    }
    for scan in [own_scan(days), Scan { bodies: false, ..own_scan(days) }] {
        let found: Vec<i64> = scanned(dead_letter_store, scan)
            .await
            .iter()
            .map(|record| (record.dead_letter.t.micros() - days) / DAY)
            .collect();

        assert_eq!(found, [2, 1, 0]);
    }
}

async fn a_scan_keeps_to_its_bounds(dead_letter_store: &Subjected) {
    let days = own_days();
    let times = [days, days + 1, days + DAY - 1, days + DAY, days + DAY + 1, days + 2 * DAY];
    for t in times {
        recorded(dead_letter_store, &dead_letter(t, b"bounded"), &[]).await;
    }
    let stop = days + 10 * DAY;
    for (from, until) in
        [(days, stop), (days + 1, days + DAY), (days + DAY - 1, days + DAY + 1), (stop, stop)]
    {
        let scan =
            Scan { from: Some(EventTime::stored(from)), until: Some(EventTime::stored(until)), bodies: true };
        let found: BTreeSet<i64> = scanned(dead_letter_store, scan)
            .await
            .iter()
            .map(|record| record.dead_letter.t.micros())
            .collect();

        let expected = times.into_iter().filter(|t| (from..until).contains(t)).collect();
        assert_eq!(found, expected, "from {} until {}", from - days, until - days);
    }
    for (scan, expected) in [
        (Scan { from: Some(EventTime::stored(days + DAY)), ..Scan::ALL }, &times[3..]),
        (Scan { until: Some(EventTime::stored(days + DAY)), ..Scan::ALL }, &times[..3]),
    ] {
        let found: BTreeSet<i64> = scanned(dead_letter_store, scan)
            .await
            .iter()
            .map(|record| record.dead_letter.t.micros())
            .collect();

        let own: Vec<i64> = found.into_iter().filter(|t| (days..stop).contains(t)).collect();
        assert_eq!(own, expected, "{scan:?}");
    }
}

async fn a_brief_scan_has_lengths_but_neither_bodies_nor_attributes(dead_letter_store: &Subjected) {
    let days = own_days();
    let whole = dead_letter(days, b"0123456789");
    let cut = dead_letter(days + 1, &vec![b'x'; WHOLE_BODY_LIMIT + 1]);
    recorded(dead_letter_store, &whole, &[state_act(&whole, 0, DeadLetterState::Parked, NOW)]).await;
    recorded(dead_letter_store, &cut, &[]).await;

    let mut found = scanned(dead_letter_store, Scan { bodies: false, ..own_scan(days) }).await;

    found.sort_by_key(|record| record.dead_letter.t);
    let lengths: Vec<u64> = found.iter().map(|record| record.dead_letter.body.length).collect();
    assert_eq!(lengths, [10, WHOLE_BODY_LIMIT as u64 + 1]);
    assert!(found.iter().all(|record| record.dead_letter.body.bytes.is_empty()));
    assert!(found.iter().all(|record| record.dead_letter.attributes.is_empty()));
    let brief =
        DeadLetter { body: found[0].dead_letter.body.clone(), attributes: Attributes::new(), ..whole };
    assert_eq!((&found[0].dead_letter, found[0].state()), (&brief, DeadLetterState::Parked));
}

async fn a_scan_shows_states_and_schedules(dead_letter_store: &Subjected) {
    let days = own_days();
    let (waiting, closed) = (dead_letter(days, b"waiting"), dead_letter(days + 1, b"closed"));
    recorded(dead_letter_store, &waiting, &[schedule_act(&waiting, 4, NOW)]).await;
    let reopened = [
        state_act(&closed, 0, DeadLetterState::Discarded, NOW),
        state_act(&closed, 1, DeadLetterState::Waiting, NOW + MS),
        state_act(&closed, 1, DeadLetterState::Recovered, NOW + 2 * MS),
    ];
    recorded(dead_letter_store, &closed, &reopened).await;

    let mut found = scanned(dead_letter_store, own_scan(days)).await;

    found.sort_by_key(|record| record.dead_letter.t);
    assert_eq!(found, [read(dead_letter_store, &waiting).await, read(dead_letter_store, &closed).await]);
    assert_eq!(found[0].progress.attempts, 4);
    assert_eq!((found[1].state(), found[1].progress.generation), (DeadLetterState::Recovered, 1));
}

async fn a_removed_dead_letter_is_gone_with_its_history(dead_letter_store: &Subjected) {
    let days = own_days();
    let dead_letter = dead_letter(days, b"resolved");
    let acts = [
        schedule_act(&dead_letter, 50, NOW + MS),
        state_act(&dead_letter, 0, DeadLetterState::Parked, NOW + 2 * MS),
        state_act(&dead_letter, 1, DeadLetterState::Waiting, NOW + 3 * MS),
        state_act(&dead_letter, 1, DeadLetterState::Recovered, NOW + 4 * MS),
    ];
    recorded(dead_letter_store, &dead_letter, &acts).await;

    dead_letter_store.remove(&read(dead_letter_store, &dead_letter).await).await.unwrap();

    assert_eq!(dead_letter_store.dead_letter(&dead_letter.id).await.unwrap(), None);
    assert_eq!(dead_letter_store.history(&dead_letter.id).await.unwrap(), []);
    assert_eq!(scanned(dead_letter_store, own_scan(days)).await, []);
}

async fn a_dead_letter_removed_twice_is_as_if_removed_once(dead_letter_store: &Subjected) {
    let days = own_days();
    let dead_letter = dead_letter(days, b"resolved");
    recorded(
        dead_letter_store,
        &dead_letter,
        &[state_act(&dead_letter, 0, DeadLetterState::Recovered, NOW + MS)],
    )
    .await;
    let record = read(dead_letter_store, &dead_letter).await;

    dead_letter_store.remove(&record).await.unwrap();
    dead_letter_store.remove(&record).await.unwrap();

    assert_eq!(scanned(dead_letter_store, own_scan(days)).await, []);
}

async fn an_older_dead_letter_recorded_after_a_neighbours_removal_is_visible(dead_letter_store: &Subjected) {
    let days = own_days();
    let removed = dead_letter(days + 3_600 * SECOND, b"removed");
    let older = (0..)
        .map(|n| dead_letter(days, format!("older {n}").as_bytes()))
        .find(|older| older.id.bucket() == removed.id.bucket())
        .unwrap();
    recorded(dead_letter_store, &removed, &[state_act(&removed, 0, DeadLetterState::Recovered, NOW + MS)])
        .await;
    dead_letter_store.remove(&read(dead_letter_store, &removed).await).await.unwrap();

    recorded(dead_letter_store, &older, &[state_act(&older, 0, DeadLetterState::Parked, NOW + 2 * MS)]).await;

    let found = scanned(dead_letter_store, own_scan(days)).await;
    assert_eq!(found, [read(dead_letter_store, &older).await]);
    assert_eq!(found[0].state(), DeadLetterState::Parked);
    assert_eq!(dead_letter_store.history(&older.id).await.unwrap().len(), 2);
}

async fn what_one_handle_recorded_another_reads(dead_letter_store: &Subjected) {
    let dead_letter = own_dead_letter();
    let other = dead_letter_store.another().await;
    recorded(dead_letter_store, &dead_letter, &[]).await;

    other.act(&state_act(&dead_letter, 0, DeadLetterState::Discarded, NOW + MS)).await.unwrap();

    assert_eq!(read(dead_letter_store, &dead_letter).await.state(), DeadLetterState::Discarded);
    let through_the_other: Result<_, StoreError> = other.dead_letter(&dead_letter.id).await;
    assert_eq!(through_the_other.unwrap(), Some(read(dead_letter_store, &dead_letter).await));
}
