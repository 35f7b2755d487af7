//! The contract of the dead-letter store: random schedules of updates, compared with a model. Two actors have
//! skewed clocks and stale views; their updates arrive in any order, repeated and concurrently.

use std::collections::BTreeSet;

use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterChange, DeadLetterState, DeadLetterUpdate, HistoryEntry,
};
use futures_util::StreamExt;
use futures_util::future::join_all;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{MS, NOW, SECOND, Store, own_dead_letter, received, schedule_update, state_update};
use crate::DeadLetterStore;

crate::contract_suite! { $ crate dead_letter_model, crate::DeadLetterStore, dead_letter_model_contract_tests: [
    any_schedule_of_updates_ends_at_the_largest_write_timestamp,
] }

/// A view of a dead letter that an actor has read, perhaps a while ago.
#[derive(Clone, Copy)]
struct View {
    generation: u32,
    state: DeadLetterState,
    attempts: u32,
}

/// Returns the expected view after the updates, in whatever order they arrive.
fn model(updates: &[DeadLetterUpdate]) -> View {
    let states = updates.iter().filter_map(|update| match update.change {
        DeadLetterChange::State { generation, state, .. } => {
            Some((update.write_timestamp(), generation, state))
        }
        _ => None,
    });
    let attempts = updates.iter().filter_map(|update| match update.change {
        DeadLetterChange::Schedule { attempts, .. } => Some(attempts),
        _ => None,
    });
    let (generation, state) = states
        .max_by_key(|(time, ..)| *time)
        .map_or((0, DeadLetterState::Waiting), |(_, g, state)| (g, state));
    View { generation, state, attempts: attempts.max().unwrap_or(0) }
}

/// Returns an update that an actor with this view may make.
fn next_update(rng: &mut ChaCha8Rng, dead_letter: &DeadLetter, view: View, at: i64) -> DeadLetterUpdate {
    let close = |state| state_update(dead_letter, view.generation, state, at);
    match view.state {
        DeadLetterState::Waiting => match rng.random_range(0..5) {
            0 => close(DeadLetterState::Parked),
            1 => close(DeadLetterState::Discarded),
            2 => close(DeadLetterState::Recovered),
            _ => schedule_update(dead_letter, view.attempts + 1, at),
        },
        DeadLetterState::Parked => match rng.random_range(0..3) {
            0 => close(DeadLetterState::Discarded),
            1 => close(DeadLetterState::Recovered),
            _ => state_update(dead_letter, view.generation + 1, DeadLetterState::Waiting, at),
        },
        DeadLetterState::Discarded if rng.random_bool(0.3) => close(DeadLetterState::Recovered),
        DeadLetterState::Discarded | DeadLetterState::Recovered => {
            state_update(dead_letter, view.generation + 1, DeadLetterState::Waiting, at)
        }
    }
}

fn random_updates(rng: &mut ChaCha8Rng, dead_letter: &DeadLetter) -> Vec<DeadLetterUpdate> {
    let skews = [rng.random_range(-3_000..3_000) * MS, rng.random_range(-3_000..3_000) * MS];
    let mut views = [model(&[]); 2];
    let mut updates: Vec<DeadLetterUpdate> = Vec::new();
    for step in 0..rng.random_range(2..14) {
        let actor = rng.random_range(0..2);
        if rng.random_bool(0.6) {
            views[actor] = model(&updates);
        }
        let update = next_update(rng, dead_letter, views[actor], NOW + step * 100 * MS + skews[actor]);
        updates.push(update);
    }
    updates
}

/// An arrival at the dead-letter store.
#[derive(Clone)]
enum Arrival {
    Copy(HistoryEntry),
    Update(DeadLetterUpdate),
}

impl Arrival {
    async fn reach(&self, store: &dyn DeadLetterStore, dead_letter: &DeadLetter) {
        match self {
            Self::Copy(receipt) => store.record(dead_letter, receipt).await.unwrap(),
            Self::Update(update) => store.apply(update).await.unwrap(),
        }
    }

    fn line(&self) -> &HistoryEntry {
        match self {
            Self::Copy(receipt) => receipt,
            Self::Update(update) => &update.entry,
        }
    }
}

async fn live(store: &dyn DeadLetterStore, seed: u64) {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let dead_letter = own_dead_letter();
    let updates = random_updates(rng, &dead_letter);
    let first = Arrival::Copy(received("receipt", NOW - 60 * SECOND));
    let mut arrivals: Vec<Arrival> = updates.iter().cloned().map(Arrival::Update).collect();
    arrivals.push(Arrival::Copy(received("second copy", NOW - 59 * SECOND)));
    for _ in 0..arrivals.len() / 2 {
        arrivals.extend(arrivals.choose(rng).cloned());
    }
    arrivals.shuffle(rng);

    // An actor has read the dead letter before it updates it.
    first.reach(store, &dead_letter).await;
    let mut rest = arrivals.as_slice();
    while !rest.is_empty() {
        let (at_once, later) = rest.split_at(rng.random_range(1..=4).min(rest.len()));
        join_all(at_once.iter().map(|arrival| arrival.reach(store, &dead_letter))).await;
        rest = later;
    }

    let record = store.dead_letter(&dead_letter.id).await.unwrap().expect("it was recorded");
    let expected = model(&updates);
    let context = format!("seed {seed}, updates {updates:#?}");
    assert_eq!(record.dead_letter, dead_letter, "{context}");
    assert_eq!(
        (record.state(), record.progress.generation, record.progress.attempts),
        (expected.state, expected.generation, expected.attempts),
        "{context}"
    );
    let due: BTreeSet<Option<i64>> = updates
        .iter()
        .filter_map(|update| match update.change {
            DeadLetterChange::Schedule { attempts, next_attempt_at } if attempts == expected.attempts => {
                Some(Some(next_attempt_at))
            }
            _ => None,
        })
        .collect();
    assert!(due.contains(&record.progress.next_attempt_at) || due.is_empty(), "{context}");

    let mut entries: Vec<HistoryEntry> = arrivals.iter().map(|arrival| arrival.line().clone()).collect();
    entries.push(first.line().clone());
    entries.sort_by(|a, b| (a.at, &a.entry_id).cmp(&(b.at, &b.entry_id)));
    entries.dedup();
    assert_eq!(store.history(&dead_letter.id).await.unwrap(), entries, "{context}");
}

async fn any_schedule_of_updates_ends_at_the_largest_write_timestamp(store: &Store) {
    let schedules = store.share_of(200);

    futures_util::stream::iter(0..schedules)
        .map(|seed| live(&**store, seed))
        .buffer_unordered(8)
        .collect::<()>()
        .await;
}
