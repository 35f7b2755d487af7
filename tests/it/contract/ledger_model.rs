//! Random lives of letters: two actors with skewed clocks and stale views, their acts arriving in
//! any order, repeated and side by side. What stays is what the largest ledger time says.

use std::collections::BTreeSet;

use ecom_domain::letter::{Act, Change, HistoryEntry, Letter, State};
use ecom_store::Ledger;
use futures_util::StreamExt;
use futures_util::future::join_all;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Subject;
use super::ledger::{MS, NOW, SECOND, own_letter, received, schedule_act, state_act};

stamp! { ledger on "embedded" embedded, "cassandra" cassandra: [
    any_schedule_of_acts_ends_at_the_largest_ledger_time,
] }

/// What somebody has read of a letter, perhaps a while ago.
#[derive(Clone, Copy)]
struct View {
    generation: u32,
    state: State,
    attempts: u32,
}

/// What the acts so far come to, in whatever order they arrive.
fn model(acts: &[Act]) -> View {
    let states = acts.iter().filter_map(|act| match act.change {
        Change::State { generation, state, .. } => Some((act.time(), generation, state)),
        _ => None,
    });
    let attempts = acts.iter().filter_map(|act| match act.change {
        Change::Schedule { attempts, .. } => Some(attempts),
        _ => None,
    });
    let (generation, state) =
        states.max_by_key(|(time, ..)| *time).map_or((0, State::Waiting), |(_, g, state)| (g, state));
    View { generation, state, attempts: attempts.max().unwrap_or(0) }
}

/// What an actor with this view may do next.
fn next_act(rng: &mut ChaCha8Rng, letter: &Letter, view: View, at: i64) -> Act {
    let close = |state| state_act(letter, view.generation, state, at);
    match view.state {
        State::Waiting => match rng.random_range(0..5) {
            0 => close(State::Parked),
            1 => close(State::Discarded),
            2 => close(State::Recovered),
            _ => schedule_act(letter, view.attempts + 1, at),
        },
        State::Parked => match rng.random_range(0..3) {
            0 => close(State::Discarded),
            1 => close(State::Recovered),
            _ => state_act(letter, view.generation + 1, State::Waiting, at),
        },
        State::Discarded if rng.random_bool(0.3) => close(State::Recovered),
        State::Discarded | State::Recovered => state_act(letter, view.generation + 1, State::Waiting, at),
    }
}

fn random_acts(rng: &mut ChaCha8Rng, letter: &Letter) -> Vec<Act> {
    let skews = [rng.random_range(-3_000..3_000) * MS, rng.random_range(-3_000..3_000) * MS];
    let mut views = [model(&[]); 2];
    let mut acts: Vec<Act> = Vec::new();
    for step in 0..rng.random_range(2..14) {
        let actor = rng.random_range(0..2);
        if rng.random_bool(0.6) {
            views[actor] = model(&acts);
        }
        let act = next_act(rng, letter, views[actor], NOW + step * 100 * MS + skews[actor]);
        acts.push(act);
    }
    acts
}

/// What reaches the ledger.
#[derive(Clone)]
enum Arrival {
    Copy(HistoryEntry),
    Act(Act),
}

impl Arrival {
    async fn reach(&self, ledger: &dyn Ledger, letter: &Letter) {
        match self {
            Self::Copy(receipt) => ledger.record(letter, receipt).await.unwrap(),
            Self::Act(act) => ledger.act(act).await.unwrap(),
        }
    }

    fn line(&self) -> &HistoryEntry {
        match self {
            Self::Copy(receipt) => receipt,
            Self::Act(act) => &act.entry,
        }
    }
}

async fn live(ledger: &dyn Ledger, seed: u64) {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let letter = own_letter();
    let acts = random_acts(rng, &letter);
    let first = Arrival::Copy(received("receipt", NOW - 60 * SECOND));
    let mut arrivals: Vec<Arrival> = acts.iter().cloned().map(Arrival::Act).collect();
    arrivals.push(Arrival::Copy(received("second copy", NOW - 59 * SECOND)));
    for _ in 0..arrivals.len() / 2 {
        arrivals.extend(arrivals.choose(rng).cloned());
    }
    arrivals.shuffle(rng);

    // An act presupposes that somebody has read the letter.
    first.reach(ledger, &letter).await;
    let mut rest = arrivals.as_slice();
    while !rest.is_empty() {
        let (at_once, later) = rest.split_at(rng.random_range(1..=4).min(rest.len()));
        join_all(at_once.iter().map(|arrival| arrival.reach(ledger, &letter))).await;
        rest = later;
    }

    let record = ledger.letter(&letter.id).await.unwrap().expect("it was recorded");
    let expected = model(&acts);
    let told = format!("seed {seed}, acts {acts:#?}");
    assert_eq!(record.letter, letter, "{told}");
    assert_eq!(
        (record.state(), record.progress.generation, record.progress.attempts),
        (expected.state, expected.generation, expected.attempts),
        "{told}"
    );
    let due: BTreeSet<Option<i64>> = acts
        .iter()
        .filter_map(|act| match act.change {
            Change::Schedule { attempts, next_attempt_at } if attempts == expected.attempts => {
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
    assert_eq!(ledger.history(&letter.id).await.unwrap(), lines, "{told}");
}

async fn any_schedule_of_acts_ends_at_the_largest_ledger_time(ledger: &Subject<dyn Ledger>) {
    let lives = ledger.share_of(200);

    futures_util::stream::iter(0..lives)
        .map(|seed| live(&**ledger, seed))
        .buffer_unordered(8)
        .collect::<()>()
        .await;
}
