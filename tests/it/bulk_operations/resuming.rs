//! Operations that are stopped or killed anywhere and resumed: each dead letter counts once.

use std::collections::BTreeMap;

use ecom_dlq::execute::{ExecuteOptions, OperationEnd, OperationReport, StartMode};
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::bulk_operation::{BulkOperation, OperationKind, OperationStatus};
use ecom_domain::dead_letter::{DeadLetter, DeadLetterState};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;

use super::fixture::*;
use super::on_every_store;

on_every_store![
    a_retry_killed_anywhere_is_resumed_and_counts_each_dead_letter_once,
    discards_and_reopens_killed_anywhere_count_each_dead_letter_once,
    a_stopped_operation_is_resumed_with_the_dead_letters_that_are_left,
    an_operation_killed_before_its_end_was_written_is_counted_again_from_its_batches,
];

/// Executes an operation, killed after more and more polls, until it ends.
async fn killed_again_and_again(
    store: &TestStore,
    operation: BulkOperation,
    rng: &mut ChaCha8Rng,
) -> (OperationReport, usize) {
    let mut kills = 0;
    let mut start = StartMode::Fresh;
    loop {
        let queue = store.operator();
        let operation = store.operations.operation(&operation.id).await.unwrap().unwrap();
        let resolver = queue.resolver(&operation, POLICY);
        let options = options(start, 3);
        let polls = rng.random_range(1..12) + 2 * kills;
        if let Some(ended) = killed_after(polls, queue.execute(operation, &resolver, &options)).await {
            return (ended.unwrap(), kills);
        }
        kills += 1;
        start = StartMode::Resumed;
    }
}

fn counts(ended: &OperationReport) -> BTreeMap<ActualOutcome, u64> {
    ended.counts.outcomes.clone()
}

async fn a_retry_killed_anywhere_is_resumed_and_counts_each_dead_letter_once(store: &TestStore) {
    let mut all_kills = 0;
    for round in 0..store.rounds {
        let rng = &mut ChaCha8Rng::seed_from_u64(round as u64);
        let mut dead_letters = store.one_of_each().await.to_vec();
        dead_letters.extend(store.one_of_each().await);
        let all: Vec<&DeadLetter> = dead_letters.iter().collect();
        let operation = store.begin(&store.operator(), OperationKind::Retry, &all).await;
        let (ended, kills) = killed_again_and_again(store, operation, rng).await;
        let expected = BTreeMap::from([
            (ActualOutcome::Recovered, 6),
            (ActualOutcome::Waiting, 2),
            (ActualOutcome::Parked, 4),
        ]);
        assert_eq!(counts(&ended), expected, "round {round}, after {kills} kills");
        assert_eq!((ended.end, ended.counts.differed), (OperationEnd::Finished, 0), "round {round}");
        let kept = store.operations.operation(&ended.operation.id).await.unwrap().unwrap();
        assert_eq!((kept.state, kept.dead_letters), (OperationStatus::Finished, 12), "round {round}");
        assert_eq!(kept.outcomes, ended.counts.words(), "round {round}");
        for dead_letter in &dead_letters {
            let recorded = ActualOutcome::recorded(
                &store.dead_letter_store.history(&dead_letter.id).await.unwrap(),
                kept.id.as_str(),
            );
            let state = store.state(dead_letter).await;
            // Killed between row and history line, a dead letter is found recovered, which needs no line.
            assert!(
                recorded == Some(state.into()) || (recorded.is_none() && state == DeadLetterState::Recovered)
            );
        }
        all_kills += kills;
    }
    assert!(all_kills > store.rounds, "{all_kills} kills");
}

async fn discards_and_reopens_killed_anywhere_count_each_dead_letter_once(store: &TestStore) {
    let mut all_kills = 0;
    for round in 0..store.rounds / 2 {
        let rng = &mut ChaCha8Rng::seed_from_u64(round as u64);
        let dead_letters = store.one_of_each().await;
        let all: Vec<&DeadLetter> = dead_letters.iter().collect();
        let operation = store.begin(&store.operator(), OperationKind::Discard, &all).await;
        let (ended, kills) = killed_again_and_again(store, operation, rng).await;
        let expected = BTreeMap::from([(ActualOutcome::Recovered, 2), (ActualOutcome::Discarded, 4)]);
        assert_eq!(counts(&ended), expected, "round {round}, after {kills} kills");
        all_kills += kills;
        let discarded: Vec<&DeadLetter> = [0, 3, 4, 5].map(|index| &dead_letters[index]).into();
        let operation = store.begin(&store.operator(), OperationKind::Reopen, &discarded).await;
        let (ended, kills) = killed_again_and_again(store, operation, rng).await;
        let expected = BTreeMap::from([(ActualOutcome::Waiting, 3), (ActualOutcome::Parked, 1)]);
        assert_eq!(counts(&ended), expected, "round {round}, after {kills} kills");
        all_kills += kills;
        for dead_letter in discarded {
            let progress =
                store.dead_letter_store.dead_letter(&dead_letter.id).await.unwrap().unwrap().progress;
            assert_eq!(progress.generation, 1, "killed or not, it was reopened once");
        }
    }
    assert!(all_kills > store.rounds, "{all_kills} kills");
}

async fn a_stopped_operation_is_resumed_with_the_dead_letters_that_are_left(store: &TestStore) {
    let dead_letters = store.one_of_each().await;
    let all: Vec<&DeadLetter> = dead_letters.iter().collect();
    let queue = store.operator();
    let operation = store.begin(&queue, OperationKind::Retry, &all).await;
    let resolver = queue.resolver(&operation, POLICY);
    let stop = CancellationToken::new();
    let done = |_| stop.cancel();
    let first = ExecuteOptions { stop: stop.clone(), done: &done, ..options(StartMode::Fresh, 0) };
    let stopped = queue.execute(operation, &resolver, &first).await.unwrap();
    assert_eq!(
        (stopped.end, stopped.operation.state),
        (OperationEnd::Stopped, OperationStatus::Stopped),
        "{stopped:?}"
    );
    let in_flight = queue.window as u64;
    assert!((1..=in_flight).contains(&stopped.counts.dead_letters()), "what was in flight was finished");
    assert_eq!(store.operations.operation(&stopped.operation.id).await.unwrap().unwrap(), stopped.operation);
    let ended = queue.execute(stopped.operation, &resolver, &options(StartMode::Resumed, 0)).await.unwrap();
    assert_eq!((ended.end, ended.operation.state), (OperationEnd::Finished, OperationStatus::Finished));
    let expected = BTreeMap::from([
        (ActualOutcome::Recovered, 3),
        (ActualOutcome::Waiting, 1),
        (ActualOutcome::Parked, 2),
    ]);
    assert_eq!(counts(&ended), expected);
    assert_eq!(ended.operation.outcomes, ended.counts.words());
    for dead_letter in &dead_letters {
        assert_eq!(store.history(dead_letter).await.len(), 1, "attempted once: {dead_letter:?}");
    }
}

async fn an_operation_killed_before_its_end_was_written_is_counted_again_from_its_batches(store: &TestStore) {
    let dead_letters = store.one_of_each().await;
    let all: Vec<&DeadLetter> = dead_letters.iter().collect();
    let ended = store.execute(OperationKind::Retry, &all).await;
    let unwritten = BulkOperation {
        state: OperationStatus::Begun,
        outcomes: Vec::new(),
        ended_at: None,
        revision: ended.operation.revision + 1,
        ..ended.operation.clone()
    };
    store.operations.put_operation(&unwritten).await.unwrap();
    let before = store.history(&dead_letters[3]).await;
    let queue = store.operator();
    let resolver = queue.resolver(&unwritten, POLICY);
    let again = queue.execute(unwritten, &resolver, &options(StartMode::Resumed, 0)).await.unwrap();
    assert_eq!(counts(&again), counts(&ended));
    assert_eq!(store.history(&dead_letters[3]).await, before, "nothing was tried twice");
}
