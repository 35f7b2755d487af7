//! What every operations store keeps.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use ecom_domain::bulk_operation::{BulkOperation, OperationId, OperationKind, OperationStatus, PlanBatch};
use ecom_domain::dead_letter::{DeadLetterId, EventKind};
use ecom_domain::event_time::EventTime;
use ecom_domain::heartbeat::Heartbeat;
use ecom_domain::verdict::Verdict;
use ecom_store::OperationsStore;
use futures_util::{StreamExt, TryStreamExt};

use super::Subject;

type Subjected = Subject<dyn OperationsStore>;

stamp! { operations on "embedded" embedded, "cassandra" cassandra: [
    a_heartbeat_reads_back_whole,
    the_last_heartbeat_of_a_role_on_a_host_stays,
    heartbeats_are_kept_by_role_and_host_and_read_in_order,
    how_far_a_role_has_come_only_rises,
    a_heartbeat_of_a_clock_that_was_put_back_counts,
    an_unknown_run_and_an_unknown_batch_are_none,
    a_run_reads_back_whole,
    every_deed_and_state_reads_back,
    a_run_written_twice_is_as_if_written_once,
    of_two_writes_of_a_run_the_larger_revision_stays_in_either_order_of_arrival,
    a_run_read_and_written_again_is_the_later_one,
    runs_are_read_newest_first_beyond_a_page,
    a_batch_reads_back_whole_in_its_order,
    a_batch_with_outcomes_stays_over_one_without_in_either_order_of_arrival,
    batches_are_kept_by_run_and_number,
    what_one_handle_wrote_another_reads,
] }

const MS: i64 = 1_000;
const SECOND: i64 = 1_000 * MS;
/// When it happens, by an honest clock.
const NOW: i64 = 1_750_000_000 * SECOND;

/// A number that no other case has.
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

/// The heartbeats of the hosts that begin so.
async fn beats(operations: &Subjected, hosts: &str) -> Vec<Heartbeat> {
    let mut heartbeats = operations.heartbeats().await.unwrap();
    heartbeats.retain(|heartbeat| heartbeat.host.starts_with(hosts));
    heartbeats
}

fn run_at(started_at: i64) -> BulkOperation {
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

fn run() -> BulkOperation {
    run_at(NOW + 123_456)
}

fn counts(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
    counts.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

/// A batch of that many dead letters, in no order of their ids.
fn batch(number: u32, dead_letters: i64) -> PlanBatch {
    let dead_letter = |n: i64| {
        let id = DeadLetterId::of(EventKind::Payment, EventTime::stored(NOW + n), b"{}");
        (id, Verdict::ALL[usize::try_from(n).unwrap() % Verdict::ALL.len()])
    };
    PlanBatch { number, dead_letters: (0..dead_letters).map(dead_letter).collect(), outcomes: None }
}

async fn a_heartbeat_reads_back_whole(operations: &Subjected) {
    let host = format!("whole-{}", own());
    let beat = Heartbeat { newest_event_at: Some(NOW - SECOND), ..heartbeat("order_consumer", &host) };

    operations.beat(&beat).await.unwrap();
    operations.beat(&beat).await.unwrap();

    assert_eq!(beats(operations, &host).await, [beat]);
}

async fn the_last_heartbeat_of_a_role_on_a_host_stays(operations: &Subjected) {
    let host = format!("last-{}", own());
    let first = heartbeat("order_consumer", &host);
    let last = Heartbeat { version: "0.2.0".into(), seen_at: NOW + 10 * SECOND, ..first.clone() };

    operations.beat(&first).await.unwrap();
    operations.beat(&last).await.unwrap();

    assert_eq!(beats(operations, &host).await, [last]);
}

async fn heartbeats_are_kept_by_role_and_host_and_read_in_order(operations: &Subjected) {
    let host = format!("many-{}", own());
    let mut expected = Vec::new();
    for role in ["payment_consumer", "dlq_handler", "order_consumer"] {
        for n in [2, 1, 3] {
            expected.push(heartbeat(role, &format!("{host}.{n}")));
            operations.beat(expected.last().unwrap()).await.unwrap();
        }
    }
    expected.sort_by(|a, b| (&a.role, &a.host).cmp(&(&b.role, &b.host)));

    assert_eq!(beats(operations, &host).await, expected);
}

async fn how_far_a_role_has_come_only_rises(operations: &Subjected) {
    let host = format!("far-{}", own());
    let beat = |after: i64, newest: Option<i64>| Heartbeat {
        seen_at: NOW + after * SECOND,
        newest_event_at: newest,
        ..heartbeat("payment_consumer", &host)
    };
    let mut seen = Vec::new();
    // A second process of the role that is behind, and one that just started.
    for (after, newest) in
        [(0, None), (1, Some(NOW)), (2, Some(NOW - SECOND)), (3, None), (4, Some(NOW + MS))]
    {
        operations.beat(&beat(after, newest)).await.unwrap();
        seen.extend(
            beats(operations, &host).await.into_iter().map(|beat| (beat.seen_at, beat.newest_event_at)),
        );
    }

    let expected = [None, Some(NOW), Some(NOW), Some(NOW), Some(NOW + MS)]
        .into_iter()
        .zip(0_i64..)
        .map(|(newest, after)| (NOW + after * SECOND, newest));
    assert_eq!(seen, expected.collect::<Vec<_>>());
}

async fn a_heartbeat_of_a_clock_that_was_put_back_counts(operations: &Subjected) {
    let host = format!("clock-{}", own());
    let ahead = Heartbeat { seen_at: NOW + 3_600 * SECOND, ..heartbeat("dlq_handler", &host) };
    let right = heartbeat("dlq_handler", &host);

    operations.beat(&ahead).await.unwrap();
    operations.beat(&right).await.unwrap();

    assert_eq!(beats(operations, &host).await, [right]);
}

async fn an_unknown_run_and_an_unknown_batch_are_none(operations: &Subjected) {
    let run = run();
    assert_eq!(operations.run(&run.id).await.unwrap(), None);
    assert_eq!(operations.batch(&run.id, 0).await.unwrap(), None);

    // A batch is no run, and no other batch.
    operations.put_batch(&run.id, &batch(0, 1)).await.unwrap();

    assert_eq!(operations.run(&run.id).await.unwrap(), None);
    assert_eq!(operations.batch(&run.id, 1).await.unwrap(), None);
}

async fn a_run_reads_back_whole(operations: &Subjected) {
    let begun = run();
    let finished = BulkOperation {
        actor: "ünï \"o'hara\"".into(),
        selection: String::new(),
        note: Some("a test order; see #7".into()),
        dead_letters: u64::from(u32::MAX) + 1,
        state: OperationStatus::Finished,
        ended_at: Some(NOW + 60 * SECOND + 1),
        outcomes: counts(&[("recovered", 990), ("still waiting", 10)]),
        revision: 7,
        ..run()
    };
    for run in [&begun, &finished] {
        operations.put_run(run).await.unwrap();

        assert_eq!(operations.run(&run.id).await.unwrap().as_ref(), Some(run));
    }
}

async fn every_deed_and_state_reads_back(operations: &Subjected) {
    for kind in OperationKind::ALL {
        for state in OperationStatus::ALL {
            let run = BulkOperation { kind, state, ..run() };
            operations.put_run(&run).await.unwrap();

            assert_eq!(operations.run(&run.id).await.unwrap(), Some(run));
        }
    }
}

async fn a_run_written_twice_is_as_if_written_once(operations: &Subjected) {
    let run = run();
    operations.put_run(&run).await.unwrap();
    operations.put_run(&run).await.unwrap();

    let found: Vec<BulkOperation> = operations.runs().try_collect().await.unwrap();
    assert_eq!(found.into_iter().filter(|found| found.id == run.id).collect::<Vec<_>>(), [run]);
}

async fn of_two_writes_of_a_run_the_larger_revision_stays_in_either_order_of_arrival(operations: &Subjected) {
    for arrival in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1], [0, 2, 1], [1, 0, 2]] {
        let begun = run();
        let stopped = BulkOperation {
            note: Some("stopped by the canary".into()),
            state: OperationStatus::Stopped,
            ended_at: Some(NOW + SECOND),
            outcomes: counts(&[("conflict", 1)]),
            revision: 1,
            ..begun.clone()
        };
        // Resumed by a host whose clock is behind: nothing of the stopped one shines through.
        let resumed = BulkOperation { host: "operator-2".into(), revision: 2, ..begun.clone() };
        for n in arrival {
            operations.put_run([&begun, &stopped, &resumed][n]).await.unwrap();
        }

        assert_eq!(operations.run(&begun.id).await.unwrap(), Some(resumed), "{arrival:?}");
    }
}

async fn a_run_read_and_written_again_is_the_later_one(operations: &Subjected) {
    let run = run();
    operations.put_run(&run).await.unwrap();
    let read = operations.run(&run.id).await.unwrap().unwrap();
    let again = BulkOperation { revision: read.revision + 1, state: OperationStatus::Finished, ..read };

    operations.put_run(&again).await.unwrap();

    assert_eq!(operations.run(&run.id).await.unwrap(), Some(again));
}

async fn runs_are_read_newest_first_beyond_a_page(operations: &Subjected) {
    const RUNS: i64 = 1_200;
    let runs: Vec<BulkOperation> = (0..RUNS).map(|n| run_at(NOW + n * 617 % RUNS * SECOND)).collect();
    futures_util::stream::iter(runs.iter().map(|run| operations.put_run(run)))
        .buffer_unordered(64)
        .try_collect::<()>()
        .await
        .unwrap();

    let found: Vec<BulkOperation> = operations.runs().try_collect().await.unwrap();

    assert!(found.is_sorted_by(|a, b| a.id > b.id), "newest first, each once");
    let own: BTreeSet<&OperationId> = runs.iter().map(|run| &run.id).collect();
    let mut found: Vec<BulkOperation> = found.into_iter().filter(|run| own.contains(&run.id)).collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    let mut expected = runs.clone();
    expected.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(found, expected);
}

async fn a_batch_reads_back_whole_in_its_order(operations: &Subjected) {
    let run = run().id;
    let empty = PlanBatch { outcomes: Some(Vec::new()), ..batch(2, 0) };
    let done = PlanBatch { outcomes: Some(counts(&[("discarded", 2), ("recovered", 5)])), ..batch(1, 7) };
    for batch in [batch(0, 1_000), done, empty, batch(3, 0)] {
        operations.put_batch(&run, &batch).await.unwrap();
        operations.put_batch(&run, &batch).await.unwrap();

        assert_eq!(operations.batch(&run, batch.number).await.unwrap(), Some(batch));
    }
}

async fn a_batch_with_outcomes_stays_over_one_without_in_either_order_of_arrival(operations: &Subjected) {
    for done_first in [false, true] {
        let run = run().id;
        let planned = batch(0, 20);
        let done = PlanBatch { outcomes: Some(counts(&[("recovered", 20)])), ..planned.clone() };
        let mut arrival = [&planned, &done];
        if done_first {
            arrival.reverse();
        }
        for batch in arrival {
            operations.put_batch(&run, batch).await.unwrap();
        }

        assert_eq!(operations.batch(&run, 0).await.unwrap(), Some(done), "{done_first}");
    }
}

async fn batches_are_kept_by_run_and_number(operations: &Subjected) {
    let (one, other) = (run().id, run().id);
    for (run, batch) in [(&one, batch(0, 1)), (&one, batch(1, 2)), (&other, batch(0, 3))] {
        operations.put_batch(run, &batch).await.unwrap();
    }

    let mut dead_letters = Vec::new();
    for (run, number) in [(&one, 0), (&one, 1), (&other, 0)] {
        dead_letters.push(operations.batch(run, number).await.unwrap().unwrap().dead_letters.len());
    }
    assert_eq!(dead_letters, [1, 2, 3]);
}

async fn what_one_handle_wrote_another_reads(operations: &Subjected) {
    let (other, run) = (operations.another().await, run());
    operations.put_run(&run).await.unwrap();
    other.put_batch(&run.id, &batch(0, 2)).await.unwrap();

    assert_eq!(other.run(&run.id).await.unwrap(), Some(run.clone()));
    assert_eq!(operations.batch(&run.id, 0).await.unwrap(), Some(batch(0, 2)));
}
