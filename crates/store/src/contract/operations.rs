//! The contract of the operations store.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::OperationsStore;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, OperationKind, OperationStatus, PlanBatch};
use ecom_domain::dead_letter::{DeadLetterId, EventKind};
use ecom_domain::event_time::EventTime;
use ecom_domain::heartbeat::Heartbeat;
use ecom_domain::verdict::Verdict;
use futures_util::{StreamExt, TryStreamExt};

use super::Subject;

type Store = Subject<dyn OperationsStore>;

crate::contract_suite! { $ crate operations, crate::OperationsStore, operations_store_contract_tests: [
    a_heartbeat_reads_back_whole,
    the_last_heartbeat_of_a_role_on_a_host_stays,
    heartbeats_are_kept_by_role_and_host_and_read_in_order,
    a_watermark_never_falls,
    a_heartbeat_of_a_clock_that_was_set_back_is_kept,
    an_unknown_operation_and_an_unknown_batch_are_none,
    an_operation_reads_back_whole,
    every_kind_and_status_reads_back,
    an_operation_written_twice_is_as_if_written_once,
    of_two_writes_of_an_operation_the_larger_revision_wins_in_either_order_of_arrival,
    an_operation_read_and_rewritten_replaces_the_earlier_one,
    operations_are_read_newest_first_beyond_a_page,
    a_batch_reads_back_whole_in_its_order,
    a_batch_with_outcomes_wins_over_one_without_in_either_order_of_arrival,
    batches_are_kept_by_operation_and_number,
    what_one_handle_wrote_another_reads,
] }

const MS: i64 = 1_000;
const SECOND: i64 = 1_000 * MS;
/// The time of the cases.
const NOW: i64 = 1_750_000_000 * SECOND;

/// Returns a number that no other case uses.
fn own() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn heartbeat(role: &str, host: &str) -> Heartbeat {
    Heartbeat {
        role: role.into(),
        host: host.into(),
        version: "0.1.0".into(),
        seen_at: NOW,
        newest_event_at: None,
    }
}

/// Returns the heartbeats of the hosts with this prefix.
async fn of_hosts(store: &Store, hosts: &str) -> Vec<Heartbeat> {
    let mut heartbeats = store.heartbeats().await.unwrap();
    heartbeats.retain(|heartbeat| heartbeat.host.starts_with(hosts));
    heartbeats
}

fn operation_at(started_at: i64) -> BulkOperation {
    BulkOperation {
        id: OperationId::new(started_at, (own() as u16).to_be_bytes()),
        kind: OperationKind::Retry,
        started_at,
        actor: "ada@example.org".into(),
        host: "operator-1".into(),
        selection: "--reason order_not_found --since 6h".into(),
        note: None,
        dead_letters: 1_000,
        batches: 2,
        state: OperationStatus::Begun,
        ended_at: None,
        outcomes: Vec::new(),
        revision: 0,
    }
}

fn operation() -> BulkOperation {
    operation_at(NOW + 123_456)
}

fn counts(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
    counts.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

/// Returns a batch of that many dead letters, not in the order of their ids.
fn batch(number: u32, dead_letters: i64) -> PlanBatch {
    let dead_letter = |n: i64| {
        let id = DeadLetterId::of(EventKind::Payment, EventTime::stored(NOW + n), b"{}");
        (id, Verdict::ALL[usize::try_from(n).unwrap() % Verdict::ALL.len()])
    };
    PlanBatch { number, dead_letters: (0..dead_letters).map(dead_letter).collect(), outcomes: None }
}

async fn a_heartbeat_reads_back_whole(store: &Store) {
    let host = format!("whole-{}", own());
    let beat = Heartbeat { newest_event_at: Some(NOW - SECOND), ..heartbeat("order_consumer", &host) };

    store.record_heartbeat(&beat).await.unwrap();
    store.record_heartbeat(&beat).await.unwrap();

    assert_eq!(of_hosts(store, &host).await, [beat]);
}

async fn the_last_heartbeat_of_a_role_on_a_host_stays(store: &Store) {
    let host = format!("last-{}", own());
    let first = heartbeat("order_consumer", &host);
    let last = Heartbeat { version: "0.2.0".into(), seen_at: NOW + 10 * SECOND, ..first.clone() };

    store.record_heartbeat(&first).await.unwrap();
    store.record_heartbeat(&last).await.unwrap();

    assert_eq!(of_hosts(store, &host).await, [last]);
}

async fn heartbeats_are_kept_by_role_and_host_and_read_in_order(store: &Store) {
    let host = format!("many-{}", own());
    let mut expected = Vec::new();
    for role in ["payment_consumer", "dlq_handler", "order_consumer"] {
        for n in [2, 1, 3] {
            expected.push(heartbeat(role, &format!("{host}.{n}")));
            store.record_heartbeat(expected.last().unwrap()).await.unwrap();
        }
    }
    expected.sort_by(|a, b| (&a.role, &a.host).cmp(&(&b.role, &b.host)));

    assert_eq!(of_hosts(store, &host).await, expected);
}

async fn a_watermark_never_falls(store: &Store) {
    let host = format!("far-{}", own());
    let beat = |after: i64, newest: Option<i64>| Heartbeat {
        seen_at: NOW + after * SECOND,
        newest_event_at: newest,
        ..heartbeat("payment_consumer", &host)
    };
    let mut seen = Vec::new();
    // Among them a second process of the role that is behind, and one that just started.
    for (after, newest) in
        [(0, None), (1, Some(NOW)), (2, Some(NOW - SECOND)), (3, None), (4, Some(NOW + MS))]
    {
        store.record_heartbeat(&beat(after, newest)).await.unwrap();
        seen.extend(
            of_hosts(store, &host).await.into_iter().map(|beat| (beat.seen_at, beat.newest_event_at)),
        );
    }

    let expected = [None, Some(NOW), Some(NOW), Some(NOW), Some(NOW + MS)]
        .into_iter()
        .zip(0_i64..)
        .map(|(newest, after)| (NOW + after * SECOND, newest));
    assert_eq!(seen, expected.collect::<Vec<_>>());
}

async fn a_heartbeat_of_a_clock_that_was_set_back_is_kept(store: &Store) {
    let host = format!("clock-{}", own());
    let ahead = Heartbeat { seen_at: NOW + 3_600 * SECOND, ..heartbeat("dlq_handler", &host) };
    let right = heartbeat("dlq_handler", &host);

    store.record_heartbeat(&ahead).await.unwrap();
    store.record_heartbeat(&right).await.unwrap();

    assert_eq!(of_hosts(store, &host).await, [right]);
}

async fn an_unknown_operation_and_an_unknown_batch_are_none(store: &Store) {
    let operation = operation();
    assert_eq!(store.operation(&operation.id).await.unwrap(), None);
    assert_eq!(store.batch(&operation.id, 0).await.unwrap(), None);

    // A batch is neither an operation nor another batch.
    store.put_batch(&operation.id, &batch(0, 1)).await.unwrap();

    assert_eq!(store.operation(&operation.id).await.unwrap(), None);
    assert_eq!(store.batch(&operation.id, 1).await.unwrap(), None);
}

async fn an_operation_reads_back_whole(store: &Store) {
    let begun = operation();
    let finished = BulkOperation {
        actor: "ünï \"o'hara\"".into(),
        selection: String::new(),
        note: Some("a test order; see #7".into()),
        dead_letters: u64::from(u32::MAX) + 1,
        state: OperationStatus::Finished,
        ended_at: Some(NOW + 60 * SECOND + 1),
        outcomes: counts(&[("recovered", 990), ("still waiting", 10)]),
        revision: 7,
        ..operation()
    };
    for operation in [&begun, &finished] {
        store.put_operation(operation).await.unwrap();

        assert_eq!(store.operation(&operation.id).await.unwrap().as_ref(), Some(operation));
    }
}

async fn every_kind_and_status_reads_back(store: &Store) {
    for kind in OperationKind::ALL {
        for state in OperationStatus::ALL {
            let operation = BulkOperation { kind, state, ..operation() };
            store.put_operation(&operation).await.unwrap();

            assert_eq!(store.operation(&operation.id).await.unwrap(), Some(operation));
        }
    }
}

async fn an_operation_written_twice_is_as_if_written_once(store: &Store) {
    let operation = operation();
    store.put_operation(&operation).await.unwrap();
    store.put_operation(&operation).await.unwrap();

    let found: Vec<BulkOperation> = store.operations().try_collect().await.unwrap();
    assert_eq!(found.into_iter().filter(|found| found.id == operation.id).collect::<Vec<_>>(), [operation]);
}

async fn of_two_writes_of_an_operation_the_larger_revision_wins_in_either_order_of_arrival(store: &Store) {
    for arrival in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1], [0, 2, 1], [1, 0, 2]] {
        let begun = operation();
        let stopped = BulkOperation {
            note: Some("stopped by the canary".into()),
            state: OperationStatus::Stopped,
            ended_at: Some(NOW + SECOND),
            outcomes: counts(&[("conflict", 1)]),
            revision: 1,
            ..begun.clone()
        };
        // Resumed by a host whose clock is behind: no cell of the stopped revision remains.
        let resumed = BulkOperation { host: "operator-2".into(), revision: 2, ..begun.clone() };
        for n in arrival {
            store.put_operation([&begun, &stopped, &resumed][n]).await.unwrap();
        }

        assert_eq!(store.operation(&begun.id).await.unwrap(), Some(resumed), "{arrival:?}");
    }
}

async fn an_operation_read_and_rewritten_replaces_the_earlier_one(store: &Store) {
    let operation = operation();
    store.put_operation(&operation).await.unwrap();
    let read = store.operation(&operation.id).await.unwrap().unwrap();
    let again = BulkOperation { revision: read.revision + 1, state: OperationStatus::Finished, ..read };

    store.put_operation(&again).await.unwrap();

    assert_eq!(store.operation(&operation.id).await.unwrap(), Some(again));
}

async fn operations_are_read_newest_first_beyond_a_page(store: &Store) {
    const OPERATIONS: i64 = 1_200;
    let operations: Vec<BulkOperation> =
        (0..OPERATIONS).map(|n| operation_at(NOW + n * 617 % OPERATIONS * SECOND)).collect();
    futures_util::stream::iter(operations.iter().map(|operation| store.put_operation(operation)))
        .buffer_unordered(64)
        .try_collect::<()>()
        .await
        .unwrap();

    let found: Vec<BulkOperation> = store.operations().try_collect().await.unwrap();

    assert!(found.is_sorted_by(|a, b| a.id > b.id), "newest first, each once");
    let own: BTreeSet<&OperationId> = operations.iter().map(|operation| &operation.id).collect();
    let mut found: Vec<BulkOperation> =
        found.into_iter().filter(|operation| own.contains(&operation.id)).collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    let mut expected = operations.clone();
    expected.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(found, expected);
}

async fn a_batch_reads_back_whole_in_its_order(store: &Store) {
    let operation = operation().id;
    let empty = PlanBatch { outcomes: Some(Vec::new()), ..batch(2, 0) };
    let done = PlanBatch { outcomes: Some(counts(&[("discarded", 2), ("recovered", 5)])), ..batch(1, 7) };
    for batch in [batch(0, 1_000), done, empty, batch(3, 0)] {
        store.put_batch(&operation, &batch).await.unwrap();
        store.put_batch(&operation, &batch).await.unwrap();

        assert_eq!(store.batch(&operation, batch.number).await.unwrap(), Some(batch));
    }
}

async fn a_batch_with_outcomes_wins_over_one_without_in_either_order_of_arrival(store: &Store) {
    for done_first in [false, true] {
        let operation = operation().id;
        let planned = batch(0, 20);
        let done = PlanBatch { outcomes: Some(counts(&[("recovered", 20)])), ..planned.clone() };
        let mut arrival = [&planned, &done];
        if done_first {
            arrival.reverse();
        }
        for batch in arrival {
            store.put_batch(&operation, batch).await.unwrap();
        }

        assert_eq!(store.batch(&operation, 0).await.unwrap(), Some(done), "{done_first}");
    }
}

async fn batches_are_kept_by_operation_and_number(store: &Store) {
    let (one, other) = (operation().id, operation().id);
    for (operation, batch) in [(&one, batch(0, 1)), (&one, batch(1, 2)), (&other, batch(0, 3))] {
        store.put_batch(operation, &batch).await.unwrap();
    }

    let mut dead_letters = Vec::new();
    for (operation, number) in [(&one, 0), (&one, 1), (&other, 0)] {
        dead_letters.push(store.batch(operation, number).await.unwrap().unwrap().dead_letters.len());
    }
    assert_eq!(dead_letters, [1, 2, 3]);
}

async fn what_one_handle_wrote_another_reads(store: &Store) {
    let (other, operation) = (store.another().await, operation());
    store.put_operation(&operation).await.unwrap();
    other.put_batch(&operation.id, &batch(0, 2)).await.unwrap();

    assert_eq!(other.operation(&operation.id).await.unwrap(), Some(operation.clone()));
    assert_eq!(store.batch(&operation.id, 0).await.unwrap(), Some(batch(0, 2)));
}
