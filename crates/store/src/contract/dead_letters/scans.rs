//! The contract of the dead-letter store: scans.

use std::collections::BTreeSet;

use ecom_domain::attributes::Attributes;
use ecom_domain::dead_letter::{BUCKETS, DeadLetter, DeadLetterProgress, DeadLetterState, WHOLE_BODY_LIMIT};
use ecom_domain::event_time::EventTime;
use futures_util::{StreamExt, TryStreamExt};

use super::{
    DAY, MS, NOW, SECOND, Store, dead_letter, own_days, own_scan, read, received, recorded, scanned,
    schedule_update, state_update,
};
use crate::Scan;

crate::contract_suite! { $ crate dead_letter_scans, crate::DeadLetterStore, dead_letter_scan_contract_tests: [
    a_scan_yields_every_dead_letter_of_every_day_and_bucket_once,
    a_scan_reads_the_newest_day_first,
    a_scan_keeps_to_its_bounds,
    a_brief_scan_has_lengths_but_neither_bodies_nor_attributes,
    a_scan_shows_states_and_schedules,
] }

async fn a_scan_yields_every_dead_letter_of_every_day_and_bucket_once(store: &Store) {
    const DEAD_LETTERS: i64 = 2_000;
    let days = own_days();
    let expected: Vec<DeadLetter> = (0..DEAD_LETTERS)
        .map(|n| dead_letter(days + n % 3 * DAY + n * SECOND, format!("body {n}").as_bytes()))
        .collect();
    let buckets: BTreeSet<i16> = expected.iter().map(|dead_letter| dead_letter.id.bucket()).collect();
    assert_eq!(buckets.len(), usize::from(BUCKETS));
    let receipt = received("receipt", NOW);
    futures_util::stream::iter(expected.iter().map(|dead_letter| store.record(dead_letter, &receipt)))
        .buffer_unordered(64)
        .try_collect::<()>()
        .await
        .unwrap();

    let bounded = scanned(store, own_scan(days)).await;
    let mut of_all = scanned(store, Scan::ALL).await;
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

async fn a_scan_reads_the_newest_day_first(store: &Store) {
    let days = own_days();
    for n in [1, 0, 2, 1, 2, 0] {
        recorded(store, &dead_letter(days + n * DAY + n, format!("body {n}").as_bytes()), &[]).await;
    }
    for scan in [own_scan(days), Scan { bodies: false, ..own_scan(days) }] {
        let found: Vec<i64> = scanned(store, scan)
            .await
            .iter()
            .map(|record| (record.dead_letter.t.micros() - days) / DAY)
            .collect();

        assert_eq!(found, [2, 1, 0]);
    }
}

async fn a_scan_keeps_to_its_bounds(store: &Store) {
    let days = own_days();
    let times = [days, days + 1, days + DAY - 1, days + DAY, days + DAY + 1, days + 2 * DAY];
    for t in times {
        recorded(store, &dead_letter(t, b"bounded"), &[]).await;
    }
    let stop = days + 10 * DAY;
    for (from, until) in
        [(days, stop), (days + 1, days + DAY), (days + DAY - 1, days + DAY + 1), (stop, stop)]
    {
        let scan =
            Scan { from: Some(EventTime::stored(from)), until: Some(EventTime::stored(until)), bodies: true };
        let found: BTreeSet<i64> =
            scanned(store, scan).await.iter().map(|record| record.dead_letter.t.micros()).collect();

        let expected = times.into_iter().filter(|t| (from..until).contains(t)).collect();
        assert_eq!(found, expected, "from {} until {}", from - days, until - days);
    }
    for (scan, expected) in [
        (Scan { from: Some(EventTime::stored(days + DAY)), ..Scan::ALL }, &times[3..]),
        (Scan { until: Some(EventTime::stored(days + DAY)), ..Scan::ALL }, &times[..3]),
    ] {
        let found: BTreeSet<i64> =
            scanned(store, scan).await.iter().map(|record| record.dead_letter.t.micros()).collect();

        let own: Vec<i64> = found.into_iter().filter(|t| (days..stop).contains(t)).collect();
        assert_eq!(own, expected, "{scan:?}");
    }
}

async fn a_brief_scan_has_lengths_but_neither_bodies_nor_attributes(store: &Store) {
    let days = own_days();
    let whole = dead_letter(days, b"0123456789");
    let cut = dead_letter(days + 1, &vec![b'x'; WHOLE_BODY_LIMIT + 1]);
    recorded(store, &whole, &[state_update(&whole, 0, DeadLetterState::Parked, NOW)]).await;
    recorded(store, &cut, &[]).await;

    let mut found = scanned(store, Scan { bodies: false, ..own_scan(days) }).await;

    found.sort_by_key(|record| record.dead_letter.t);
    let lengths: Vec<u64> = found.iter().map(|record| record.dead_letter.body.length).collect();
    assert_eq!(lengths, [10, WHOLE_BODY_LIMIT as u64 + 1]);
    assert!(found.iter().all(|record| record.dead_letter.body.bytes.is_empty()));
    assert!(found.iter().all(|record| record.dead_letter.attributes.is_empty()));
    let brief =
        DeadLetter { body: found[0].dead_letter.body.clone(), attributes: Attributes::new(), ..whole };
    assert_eq!((&found[0].dead_letter, found[0].state()), (&brief, DeadLetterState::Parked));
}

async fn a_scan_shows_states_and_schedules(store: &Store) {
    let days = own_days();
    let (waiting, closed) = (dead_letter(days, b"waiting"), dead_letter(days + 1, b"closed"));
    recorded(store, &waiting, &[schedule_update(&waiting, 4, NOW)]).await;
    let reopened = [
        state_update(&closed, 0, DeadLetterState::Discarded, NOW),
        state_update(&closed, 1, DeadLetterState::Waiting, NOW + MS),
        state_update(&closed, 1, DeadLetterState::Recovered, NOW + 2 * MS),
    ];
    recorded(store, &closed, &reopened).await;

    let mut found = scanned(store, own_scan(days)).await;

    found.sort_by_key(|record| record.dead_letter.t);
    assert_eq!(found, [read(store, &waiting).await, read(store, &closed).await]);
    assert_eq!(found[0].progress.attempts, 4);
    assert_eq!((found[1].state(), found[1].progress.generation), (DeadLetterState::Recovered, 1));
}
