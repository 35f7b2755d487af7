//! What a run would do and what it did, as text and JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{count, counted, json, plain, span, table_with};
use ecom_dlq::plan::Plan;
use ecom_dlq::run::{End, Ended};
use ecom_dlq::tally::Difference;
use ecom_domain::letter::State;
use ecom_domain::run::{Deed, RunState};
use ecom_domain::verdict::Verdict;

/// Letters named one by one in a text.
const NAMED: usize = 10;

/// What a deed makes of a letter with this verdict.
pub fn foretold(deed: Deed, verdict: Verdict) -> &'static str {
    match (deed, verdict) {
        (Deed::Retry | Deed::Correct, Verdict::AppliesNow) => "is applied, then recovered",
        (Deed::Retry | Deed::Correct, Verdict::AlreadyApplied) => "recovered: the row shows it",
        (Deed::Retry | Deed::Correct, Verdict::Superseded) => "recovered: the row shows a newer event",
        (Deed::Retry | Deed::Correct, Verdict::StillWaiting) => "goes on waiting: its order is not there",
        (Deed::Retry | Deed::Correct, Verdict::Conflict) => {
            "is parked: the row shows another event of the same time"
        }
        (Deed::Retry | Deed::Correct, Verdict::Poison) => "is parked: correct it, or discard it",
        (Deed::Discard, Verdict::AppliesNow) => "is discarded, though a retry would apply it",
        (Deed::Discard, Verdict::AlreadyApplied) => "recovered instead: the row shows it",
        (Deed::Discard, Verdict::Superseded) => "recovered instead: the row shows a newer event",
        (Deed::Discard, Verdict::StillWaiting | Verdict::Conflict | Verdict::Poison) => "is discarded",
        (Deed::Reopen, Verdict::AppliesNow) => "waits for its next attempt, which applies it",
        (Deed::Reopen, Verdict::AlreadyApplied | Verdict::Superseded) => {
            "waits for its next attempt, which closes it"
        }
        (Deed::Reopen, Verdict::StillWaiting) => "waits for its order",
        (Deed::Reopen, Verdict::Conflict) => "waits for its next attempt, which parks it again",
        (Deed::Reopen, Verdict::Poison) => "is parked, for somebody to correct",
    }
}

/// Why a deed leaves letters of this state alone.
fn left_alone(deed: Deed, state: State) -> &'static str {
    match (deed, state) {
        (Deed::Reopen, State::Waiting) => "is open already",
        (_, State::Discarded) => "reopen it first",
        (_, State::Waiting | State::Parked | State::Recovered) => "nothing to do",
    }
}

/// What a run would do, for people.
pub fn plan(store: &str, plan: &Plan, rate: Option<f64>, canary: u64) -> String {
    let mut text = format!("{} in {store}\n\n", plan.deed.as_str());
    if plan.letters == 0 {
        text.push_str("no letter of this selection is to be changed\n");
    } else {
        let rows = plan.verdicts.iter().map(|(verdict, letters)| {
            [verdict.as_str().to_owned(), count(*letters), foretold(plan.deed, *verdict).to_owned()]
        });
        text.push_str(&table_with(["verdict", "letters", "what happens"], &["letters"], rows));
    }
    for (state, letters) in &plan.left_out {
        let why = left_alone(plan.deed, *state);
        text.push_str(&format!("left alone: {} {} ({why})\n", count(*letters), state.as_str()));
    }
    if !plan.missing.is_empty() {
        text.push_str(&format!("not found: {}\n", counted(plan.missing.len() as u64, "letter")));
        for id in plan.missing.iter().take(NAMED) {
            text.push_str(&format!("  {id}\n"));
        }
    }
    if let Some(rate) = rate.filter(|_| plan.letters > 0) {
        let takes = span(micros(plan.letters as f64 / rate));
        text.push_str(&format!("\ntakes about {takes} at {}/s", count(rate as u64)));
        if canary > 0 {
            let canary = counted(canary.min(plan.letters), "letter");
            text.push_str(&format!("; the first {canary} must end as foretold, or it stops"));
        }
        text.push('\n');
    }
    text
}

#[expect(clippy::cast_possible_truncation, reason = "a span of time in microseconds")]
fn micros(seconds: f64) -> i64 {
    (seconds * 1_000_000.0).ceil() as i64
}

#[derive(Serialize)]
struct PlanJson<'p> {
    store: &'p str,
    deed: &'static str,
    letters: u64,
    verdicts: BTreeMap<&'static str, u64>,
    left_alone: BTreeMap<&'static str, u64>,
    not_found: Vec<&'p str>,
    takes_seconds: Option<f64>,
}

/// What a run would do, for programs.
pub fn plan_json(store: &str, plan: &Plan, rate: Option<f64>) -> String {
    json(&PlanJson {
        store,
        deed: plan.deed.as_str(),
        letters: plan.letters,
        verdicts: plan.verdicts.iter().map(|(verdict, letters)| (verdict.as_str(), *letters)).collect(),
        left_alone: plan.left_out.iter().map(|(state, letters)| (state.as_str(), *letters)).collect(),
        not_found: plan.missing.iter().map(|id| id.as_str()).collect(),
        takes_seconds: rate.map(|rate| plan.letters as f64 / rate),
    })
}

/// What a run did, for people.
pub fn ended(store: &str, ended: &Ended) -> String {
    let Ended { run, tally, .. } = ended;
    let done = match run.state {
        RunState::Finished => counted(run.letters, "letter"),
        RunState::Begun | RunState::Stopped => {
            format!("{} of {}", count(tally.letters()), counted(run.letters, "letter"))
        }
    };
    let (deed, state) = (run.deed.as_str(), run.state.as_str());
    let mut text = format!("{deed} in {store}: run {} {state}, {done}\n\n", run.id);
    let rows = tally.outcomes.iter().map(|(outcome, letters)| [outcome.as_str().to_owned(), count(*letters)]);
    text.push_str(&table_with(["now", "letters"], &["letters"], rows));
    if tally.differed > 0 {
        let differed = counted(tally.differed, "letter");
        text.push_str(&format!("\n{differed} ended otherwise than was foretold\n"));
        for Difference { id, foretold, outcome } in tally.differences.iter().take(NAMED) {
            text.push_str(&format!("  {id}  foretold {}, is {}\n", foretold.as_str(), outcome.as_str()));
        }
    }
    text
}

#[derive(Serialize)]
struct EndedJson<'e> {
    store: &'e str,
    run_id: &'e str,
    deed: &'static str,
    state: &'static str,
    end: &'static str,
    letters: u64,
    done: u64,
    outcomes: BTreeMap<&'static str, u64>,
    differed: u64,
    differences: Vec<DifferenceJson<'e>>,
}

#[derive(Serialize)]
struct DifferenceJson<'e> {
    id: &'e str,
    foretold: &'static str,
    is: &'static str,
}

/// What a run did, for programs.
pub fn ended_json(store: &str, ended: &Ended) -> String {
    let Ended { run, tally, end } = ended;
    json(&EndedJson {
        store,
        run_id: run.id.as_str(),
        deed: run.deed.as_str(),
        state: run.state.as_str(),
        end: match end {
            End::Finished => "finished",
            End::Stopped => "stopped",
            End::Differed => "differed",
        },
        letters: run.letters,
        done: tally.letters(),
        outcomes: tally.outcomes.iter().map(|(outcome, letters)| (outcome.as_str(), *letters)).collect(),
        differed: tally.differed,
        differences: tally
            .differences
            .iter()
            .map(|Difference { id, foretold, outcome }| DifferenceJson {
                id: id.as_str(),
                foretold: foretold.as_str(),
                is: outcome.as_str(),
            })
            .collect(),
    })
}

/// Words of the command line that select letters, for a question.
pub fn question(plan: &Plan) -> String {
    format!("{} {}?", plan.deed.as_str(), counted(plan.letters, "letter"))
}

/// A run that is gone on with, for people.
pub fn resumed(run: &ecom_domain::run::Run) -> String {
    let (deed, letters) = (run.deed.as_str(), counted(run.letters, "letter"));
    format!("going on with run {}: {deed} of {letters}, begun by {}", run.id, plain(&run.actor))
}
