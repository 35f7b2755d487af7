//! Runs that are stopped or killed anywhere, and gone on with: each letter counts once.

use std::collections::BTreeMap;

use ecom_dlq::run::{End, Ended, Entry, Pace};
use ecom_domain::letter::{Letter, State};
use ecom_domain::outcome::Outcome;
use ecom_domain::run::{Deed, Run, RunState};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;

use super::bench::*;
use super::on_every_store;

on_every_store![
    a_retry_killed_anywhere_is_gone_on_with_and_counts_each_letter_once,
    discards_and_reopens_killed_anywhere_count_each_letter_once,
    a_stopped_run_goes_on_with_what_is_left,
    a_run_that_was_finished_before_its_end_was_written_is_counted_again_from_its_parts,
];

/// Works on a run, killed after more and more polls, until it comes to its end.
async fn killed_again_and_again(bench: &Bench, run: Run, rng: &mut ChaCha8Rng) -> (Ended, usize) {
    let mut kills = 0;
    let mut entry = Entry::Fresh;
    loop {
        let desk = bench.desk();
        let run = bench.journal.run(&run.id).await.unwrap().unwrap();
        let settler = desk.settler(&run, POLICY);
        let pace = pace(entry, 3);
        let polls = rng.random_range(1..12) + 2 * kills;
        if let Some(ended) = killed_after(polls, desk.work(run, &settler, &pace)).await {
            return (ended.unwrap(), kills);
        }
        kills += 1;
        entry = Entry::Resumed;
    }
}

fn counts(ended: &Ended) -> BTreeMap<Outcome, u64> {
    ended.tally.outcomes.clone()
}

async fn a_retry_killed_anywhere_is_gone_on_with_and_counts_each_letter_once(bench: &Bench) {
    let mut all_kills = 0;
    for round in 0..bench.rounds {
        let rng = &mut ChaCha8Rng::seed_from_u64(round as u64);
        let mut letters = bench.one_of_each().await.to_vec();
        letters.extend(bench.one_of_each().await);
        let all: Vec<&Letter> = letters.iter().collect();
        let run = bench.begin(&bench.desk(), Deed::Retry, &all).await;
        let (ended, kills) = killed_again_and_again(bench, run, rng).await;
        let expected = BTreeMap::from([(Outcome::Recovered, 6), (Outcome::Waiting, 2), (Outcome::Parked, 4)]);
        assert_eq!(counts(&ended), expected, "round {round}, after {kills} kills");
        assert_eq!((ended.end, ended.tally.differed), (End::Finished, 0), "round {round}");
        let kept = bench.journal.run(&ended.run.id).await.unwrap().unwrap();
        assert_eq!((kept.state, kept.letters), (RunState::Finished, 12), "round {round}");
        assert_eq!(kept.outcomes, ended.tally.words(), "round {round}");
        for letter in &letters {
            let told = Outcome::told(&bench.ledger.history(&letter.id).await.unwrap(), kept.id.as_str());
            let state = bench.state(letter).await;
            // Killed between the row and the line, a letter is found recovered, which needs no line.
            assert!(told == Some(state.into()) || (told.is_none() && state == State::Recovered));
        }
        all_kills += kills;
    }
    assert!(all_kills > bench.rounds, "{all_kills} kills");
}

async fn discards_and_reopens_killed_anywhere_count_each_letter_once(bench: &Bench) {
    let mut all_kills = 0;
    for round in 0..bench.rounds / 2 {
        let rng = &mut ChaCha8Rng::seed_from_u64(round as u64);
        let letters = bench.one_of_each().await;
        let all: Vec<&Letter> = letters.iter().collect();
        let run = bench.begin(&bench.desk(), Deed::Discard, &all).await;
        let (ended, kills) = killed_again_and_again(bench, run, rng).await;
        let expected = BTreeMap::from([(Outcome::Recovered, 2), (Outcome::Discarded, 4)]);
        assert_eq!(counts(&ended), expected, "round {round}, after {kills} kills");
        all_kills += kills;
        let discarded: Vec<&Letter> = [0, 3, 4, 5].map(|index| &letters[index]).into();
        let run = bench.begin(&bench.desk(), Deed::Reopen, &discarded).await;
        let (ended, kills) = killed_again_and_again(bench, run, rng).await;
        let expected = BTreeMap::from([(Outcome::Waiting, 3), (Outcome::Parked, 1)]);
        assert_eq!(counts(&ended), expected, "round {round}, after {kills} kills");
        all_kills += kills;
        for letter in discarded {
            let progress = bench.ledger.letter(&letter.id).await.unwrap().unwrap().progress;
            assert_eq!(progress.generation, 1, "killed or not, it was reopened once");
        }
    }
    assert!(all_kills > bench.rounds, "{all_kills} kills");
}

async fn a_stopped_run_goes_on_with_what_is_left(bench: &Bench) {
    let letters = bench.one_of_each().await;
    let all: Vec<&Letter> = letters.iter().collect();
    let desk = bench.desk();
    let run = bench.begin(&desk, Deed::Retry, &all).await;
    let settler = desk.settler(&run, POLICY);
    let stop = CancellationToken::new();
    let done = |_| stop.cancel();
    let first = Pace { stop: stop.clone(), done: &done, ..pace(Entry::Fresh, 0) };
    let stopped = desk.work(run, &settler, &first).await.unwrap();
    assert_eq!((stopped.end, stopped.run.state), (End::Stopped, RunState::Stopped), "{stopped:?}");
    let in_flight = desk.window as u64;
    assert!((1..=in_flight).contains(&stopped.tally.letters()), "what was in flight was finished");
    assert_eq!(bench.journal.run(&stopped.run.id).await.unwrap().unwrap(), stopped.run);
    let ended = desk.work(stopped.run, &settler, &pace(Entry::Resumed, 0)).await.unwrap();
    assert_eq!((ended.end, ended.run.state), (End::Finished, RunState::Finished));
    let expected = BTreeMap::from([(Outcome::Recovered, 3), (Outcome::Waiting, 1), (Outcome::Parked, 2)]);
    assert_eq!(counts(&ended), expected);
    assert_eq!(ended.run.outcomes, ended.tally.words());
}

async fn a_run_that_was_finished_before_its_end_was_written_is_counted_again_from_its_parts(bench: &Bench) {
    let letters = bench.one_of_each().await;
    let all: Vec<&Letter> = letters.iter().collect();
    let ended = bench.act(Deed::Retry, &all).await;
    let unwritten = Run {
        state: RunState::Begun,
        outcomes: Vec::new(),
        ended_at: None,
        revision: ended.run.revision + 1,
        ..ended.run.clone()
    };
    bench.journal.put_run(&unwritten).await.unwrap();
    let before = bench.history(&letters[3]).await;
    let desk = bench.desk();
    let settler = desk.settler(&unwritten, POLICY);
    let again = desk.work(unwritten, &settler, &pace(Entry::Resumed, 0)).await.unwrap();
    assert_eq!(counts(&again), counts(&ended));
    assert_eq!(bench.history(&letters[3]).await, before, "nothing was tried twice");
}
