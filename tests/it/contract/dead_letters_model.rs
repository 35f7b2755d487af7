//! Random lives of dead letters: two actors with skewed clocks and stale views, their acts arriving in
//! any order, repeated and side by side. What stays is what the largest write timestamp says.

use std::collections::BTreeSet;

use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterChange, DeadLetterState, DeadLetterUpdate, HistoryEntry,
};
use ecom_store::DeadLetterStore;
use futures_util::StreamExt;
use futures_util::future::join_all;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Subject;
use super::dead_letters::{MS, NOW, SECOND, own_dead_letter, received, schedule_act, state_act};

stamp! { dead_letter_store on "embedded" embedded, "cassandra" cassandra: [
    any_schedule_of_acts_ends_at_the_largest_dead_letter_store_time,
] }

/// What somebody has read of a dead letter, perhaps a while ago.
#[derive(Clone, Copy)]
struct View {
    generation: u32,
    state: DeadLetterState,
    attempts: u32,
}

/// What the acts so far come to, in whatever order they arrive.
fn model(acts: &[DeadLetterUpdate]) -> View {
    let states = acts.iter().filter_map(|act| match act.change {
        DeadLetterChange::State { generation, state, .. } => Some((act.time(), generation, state)),
        _ => None,
    });
    let attempts = acts.iter().filter_map(|act| match act.change {
        DeadLetterChange::Schedule { attempts, .. } => Some(attempts),
        _ => None,
    });
    let (generation, state) = states
        .max_by_key(|(time, ..)| *time)
        .map_or((0, DeadLetterState::Waiting), |(_, g, state)| (g, state));
    View { generation, state, attempts: attempts.max().unwrap_or(0) }
}

/// What an actor with this view may do next.
fn next_act(rng: &mut ChaCha8Rng, dead_letter: &DeadLetter, view: View, at: i64) -> DeadLetterUpdate {
    let close = |state| state_act(dead_letter, view.generation, state, at);
    match view.state {
        DeadLetterState::Waiting => match rng.random_range(0..5) {
            0 => close(DeadLetterState::Parked),
            1 => close(DeadLetterState::Discarded),
            2 => close(DeadLetterState::Recovered),
            _ => schedule_act(dead_letter, view.attempts + 1, at),
        },
        DeadLetterState::Parked => match rng.random_range(0..3) {
            0 => close(DeadLetterState::Discarded),
            1 => close(DeadLetterState::Recovered),
            _ => state_act(dead_letter, view.generation + 1, DeadLetterState::Waiting, at),
        },
        DeadLetterState::Discarded if rng.random_bool(0.3) => close(DeadLetterState::Recovered),
        DeadLetterState::Discarded | DeadLetterState::Recovered => {
            state_act(dead_letter, view.generation + 1, DeadLetterState::Waiting, at)
        }
    }
}

fn random_acts(rng: &mut ChaCha8Rng, dead_letter: &DeadLetter) -> Vec<DeadLetterUpdate> {
    let skews = [rng.random_range(-3_000..3_000) * MS, rng.random_range(-3_000..3_000) * MS];
    let mut views = [model(&[]); 2];
    let mut acts: Vec<DeadLetterUpdate> = Vec::new();
    for step in 0..rng.random_range(2..14) {
        let actor = rng.random_range(0..2);
        if rng.random_bool(0.6) {
            views[actor] = model(&acts);
        }
        let act = next_act(rng, dead_letter, views[actor], NOW + step * 100 * MS + skews[actor]);
        acts.push(act);
    }
    acts
}

/// What reaches the dead-letter store.
#[derive(Clone)]
enum Arrival {
    Copy(HistoryEntry),
    Update(DeadLetterUpdate),
}

impl Arrival {
    async fn reach(&self, dead_letter_store: &dyn DeadLetterStore, dead_letter: &DeadLetter) {
        match self {
            Self::Copy(receipt) => dead_letter_store.record(dead_letter, receipt).await.unwrap(),
            Self::Update(act) => dead_letter_store.act(act).await.unwrap(),
        }
    }

    fn line(&self) -> &HistoryEntry {
        match self {
            Self::Copy(receipt) => receipt,
            Self::Update(act) => &act.entry,
        }
    }
}

async fn live(dead_letter_store: &dyn DeadLetterStore, seed: u64) {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let dead_letter = own_dead_letter();
    let acts = random_acts(rng, &dead_letter);
    let first = Arrival::Copy(received("receipt", NOW - 60 * SECOND));
    let mut arrivals: Vec<Arrival> = acts.iter().cloned().map(Arrival::Update).collect();
    arrivals.push(Arrival::Copy(received("second copy", NOW - 59 * SECOND)));
    for _ in 0..arrivals.len() / 2 {
        arrivals.extend(arrivals.choose(rng).cloned());
    }
    arrivals.shuffle(rng);

    // An act presupposes that somebody has read the dead letter.
    first.reach(dead_letter_store, &dead_letter).await;
    let mut rest = arrivals.as_slice();
    while !rest.is_empty() {
        let (at_once, later) = rest.split_at(rng.random_range(1..=4).min(rest.len()));
        join_all(at_once.iter().map(|arrival| arrival.reach(dead_letter_store, &dead_letter))).await;
        rest = later;
    }

    let record = dead_letter_store.dead_letter(&dead_letter.id).await.unwrap().expect("it was recorded");
    let expected = model(&acts);
    let told = format!("seed {seed}, acts {acts:#?}");
    assert_eq!(record.dead_letter, dead_letter, "{told}");
    assert_eq!(
        (record.state(), record.progress.generation, record.progress.attempts),
        (expected.state, expected.generation, expected.attempts),
        "{told}"
    );
    let due: BTreeSet<Option<i64>> = acts
        .iter()
        .filter_map(|act| match act.change {
            DeadLetterChange::Schedule { attempts, next_attempt_at } if attempts == expected.attempts => {
                Some(Some(next_attempt_at))
            }
            _ => None,
        })
        .collect();
    assert!(due.contains(&record.progress.next_attempt_at) || due.is_empty(), "{told}");

    let mut lines: Vec<HistoryEntry> = arrivals.iter().map(|arrival| arrival.line().clone()).collect();
    lines.push(first.line().clone());
    lines.sort_by(|a, b| (a.at, &a.entry_id).cmp(&(b.at, &b.entry_id)));
    lines.dedup();
    assert_eq!(dead_letter_store.history(&dead_letter.id).await.unwrap(), lines, "{told}");
}

async fn any_schedule_of_acts_ends_at_the_largest_dead_letter_store_time(
    dead_letter_store: &Subject<dyn DeadLetterStore>,
) {
    let lives = dead_letter_store.share_of(200);

    futures_util::stream::iter(0..lives)
        .map(|seed| live(&**dead_letter_store, seed))
        .buffer_unordered(8)
        .collect::<()>()
        .await;
}
