//! Runs that are stopped or killed anywhere, and gone on with: each dead letter counts once.

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
    a_retry_killed_anywhere_is_gone_on_with_and_counts_each_dead_letter_once,
    discards_and_reopens_killed_anywhere_count_each_dead_letter_once,
    a_stopped_run_goes_on_with_what_is_left,
    a_run_that_was_finished_before_its_end_was_written_is_counted_again_from_its_parts,
];

/// Works on a run, killed after more and more polls, until it comes to its end.
async fn killed_again_and_again(
    bench: &Bench,
    run: BulkOperation,
    rng: &mut ChaCha8Rng,
) -> (OperationReport, usize) {
    let mut kills = 0;
    let mut entry = StartMode::Fresh;
    loop {
        let queue = bench.queue();
        let run = bench.operations.run(&run.id).await.unwrap().unwrap();
        let resolver = queue.resolver(&run, POLICY);
        let pace = pace(entry, 3);
        let polls = rng.random_range(1..12) + 2 * kills;
        if let Some(ended) = killed_after(polls, queue.work(run, &resolver, &pace)).await {
            return (ended.unwrap(), kills);
        }
        kills += 1;
        entry = StartMode::Resumed;
    }
}

fn counts(ended: &OperationReport) -> BTreeMap<ActualOutcome, u64> {
    ended.counts.outcomes.clone()
}

async fn a_retry_killed_anywhere_is_gone_on_with_and_counts_each_dead_letter_once(bench: &Bench) {
    let mut all_kills = 0;
    for round in 0..bench.rounds {
        let rng = &mut ChaCha8Rng::seed_from_u64(round as u64);
        let mut dead_letters = bench.one_of_each().await.to_vec();
        dead_letters.extend(bench.one_of_each().await);
        let all: Vec<&DeadLetter> = dead_letters.iter().collect();
        let run = bench.begin(&bench.queue(), OperationKind::Retry, &all).await;
        let (ended, kills) = killed_again_and_again(bench, run, rng).await;
        let expected = BTreeMap::from([
            (ActualOutcome::Recovered, 6),
            (ActualOutcome::Waiting, 2),
            (ActualOutcome::Parked, 4),
        ]);
        assert_eq!(counts(&ended), expected, "round {round}, after {kills} kills");
        assert_eq!((ended.end, ended.counts.differed), (OperationEnd::Finished, 0), "round {round}");
        let kept = bench.operations.run(&ended.run.id).await.unwrap().unwrap();
        assert_eq!((kept.state, kept.dead_letters), (OperationStatus::Finished, 12), "round {round}");
        assert_eq!(kept.outcomes, ended.counts.words(), "round {round}");
        for dead_letter in &dead_letters {
            let told = ActualOutcome::recorded(
                &bench.dead_letter_store.history(&dead_letter.id).await.unwrap(),
                kept.id.as_str(),
            );
            let state = bench.state(dead_letter).await;
            // Killed between the row and the line, a dead letter is found recovered, which needs no line.
            assert!(told == Some(state.into()) || (told.is_none() && state == DeadLetterState::Recovered));
        }
        all_kills += kills;
    }
    assert!(all_kills > bench.rounds, "{all_kills} kills");
}

async fn discards_and_reopens_killed_anywhere_count_each_dead_letter_once(bench: &Bench) {
    let mut all_kills = 0;
    for round in 0..bench.rounds / 2 {
        let rng = &mut ChaCha8Rng::seed_from_u64(round as u64);
        let dead_letters = bench.one_of_each().await;
        let all: Vec<&DeadLetter> = dead_letters.iter().collect();
        let run = bench.begin(&bench.queue(), OperationKind::Discard, &all).await;
        let (ended, kills) = killed_again_and_again(bench, run, rng).await;
        let expected = BTreeMap::from([(ActualOutcome::Recovered, 2), (ActualOutcome::Discarded, 4)]);
        assert_eq!(counts(&ended), expected, "round {round}, after {kills} kills");
        all_kills += kills;
        let discarded: Vec<&DeadLetter> = [0, 3, 4, 5].map(|index| &dead_letters[index]).into();
        let run = bench.begin(&bench.queue(), OperationKind::Reopen, &discarded).await;
        let (ended, kills) = killed_again_and_again(bench, run, rng).await;
        let expected = BTreeMap::from([(ActualOutcome::Waiting, 3), (ActualOutcome::Parked, 1)]);
        assert_eq!(counts(&ended), expected, "round {round}, after {kills} kills");
        all_kills += kills;
        for dead_letter in discarded {
            let progress =
                bench.dead_letter_store.dead_letter(&dead_letter.id).await.unwrap().unwrap().progress;
            assert_eq!(progress.generation, 1, "killed or not, it was reopened once");
        }
    }
    assert!(all_kills > bench.rounds, "{all_kills} kills");
}

async fn a_stopped_run_goes_on_with_what_is_left(bench: &Bench) {
    let dead_letters = bench.one_of_each().await;
    let all: Vec<&DeadLetter> = dead_letters.iter().collect();
    let queue = bench.queue();
    let run = bench.begin(&queue, OperationKind::Retry, &all).await;
    let resolver = queue.resolver(&run, POLICY);
    let stop = CancellationToken::new();
    let done = |_| stop.cancel();
    let first = ExecuteOptions { stop: stop.clone(), done: &done, ..pace(StartMode::Fresh, 0) };
    let stopped = queue.work(run, &resolver, &first).await.unwrap();
    assert_eq!(
        (stopped.end, stopped.run.state),
        (OperationEnd::Stopped, OperationStatus::Stopped),
        "{stopped:?}"
    );
    let in_flight = queue.window as u64;
    assert!((1..=in_flight).contains(&stopped.counts.dead_letters()), "what was in flight was finished");
    assert_eq!(bench.operations.run(&stopped.run.id).await.unwrap().unwrap(), stopped.run);
    let ended = queue.work(stopped.run, &resolver, &pace(StartMode::Resumed, 0)).await.unwrap();
    assert_eq!((ended.end, ended.run.state), (OperationEnd::Finished, OperationStatus::Finished));
    let expected = BTreeMap::from([
        (ActualOutcome::Recovered, 3),
        (ActualOutcome::Waiting, 1),
        (ActualOutcome::Parked, 2),
    ]);
    assert_eq!(counts(&ended), expected);
    assert_eq!(ended.run.outcomes, ended.counts.words());
}

async fn a_run_that_was_finished_before_its_end_was_written_is_counted_again_from_its_parts(bench: &Bench) {
    let dead_letters = bench.one_of_each().await;
    let all: Vec<&DeadLetter> = dead_letters.iter().collect();
    let ended = bench.act(OperationKind::Retry, &all).await;
    let unwritten = BulkOperation {
        state: OperationStatus::Begun,
        outcomes: Vec::new(),
        ended_at: None,
        revision: ended.run.revision + 1,
        ..ended.run.clone()
    };
    bench.operations.put_run(&unwritten).await.unwrap();
    let before = bench.history(&dead_letters[3]).await;
    let queue = bench.queue();
    let resolver = queue.resolver(&unwritten, POLICY);
    let again = queue.work(unwritten, &resolver, &pace(StartMode::Resumed, 0)).await.unwrap();
    assert_eq!(counts(&again), counts(&ended));
    assert_eq!(bench.history(&dead_letters[3]).await, before, "nothing was tried twice");
}
