//! What a run would do and what it did, as text and JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{count, counted, json, plain, span, table_with};
use ecom_dlq::execute::{OperationEnd, OperationReport};
use ecom_dlq::outcome_counts::Misprediction;
use ecom_dlq::plan::OperationPlan;
use ecom_domain::bulk_operation::{OperationKind, OperationStatus};
use ecom_domain::dead_letter::DeadLetterState;
use ecom_domain::verdict::Verdict;

/// Dead letters named one by one in a text.
const NAMED: usize = 10;

/// What a deed makes of a dead letter with this verdict.
pub fn predicted(kind: OperationKind, verdict: Verdict) -> &'static str {
    match (kind, verdict) {
        (OperationKind::Retry | OperationKind::Correct, Verdict::AppliesNow) => "is applied, then recovered",
        (OperationKind::Retry | OperationKind::Correct, Verdict::AlreadyApplied) => {
            "recovered: the row shows it"
        }
        (OperationKind::Retry | OperationKind::Correct, Verdict::Superseded) => {
            "recovered: the row shows a newer event"
        }
        (OperationKind::Retry | OperationKind::Correct, Verdict::StillWaiting) => {
            "goes on waiting: its order is not there"
        }
        (OperationKind::Retry | OperationKind::Correct, Verdict::Conflict) => {
            "is parked: the row shows another event of the same time"
        }
        (OperationKind::Retry | OperationKind::Correct, Verdict::Poison) => {
            "is parked: correct it, or discard it"
        }
        (OperationKind::Discard, Verdict::AppliesNow) => "is discarded, though a retry would apply it",
        (OperationKind::Discard, Verdict::AlreadyApplied) => "recovered instead: the row shows it",
        (OperationKind::Discard, Verdict::Superseded) => "recovered instead: the row shows a newer event",
        (OperationKind::Discard, Verdict::StillWaiting | Verdict::Conflict | Verdict::Poison) => {
            "is discarded"
        }
        (OperationKind::Reopen, Verdict::AppliesNow) => "waits for its next attempt, which applies it",
        (OperationKind::Reopen, Verdict::AlreadyApplied | Verdict::Superseded) => {
            "waits for its next attempt, which closes it"
        }
        (OperationKind::Reopen, Verdict::StillWaiting) => "waits for its order",
        (OperationKind::Reopen, Verdict::Conflict) => "waits for its next attempt, which parks it again",
        (OperationKind::Reopen, Verdict::Poison) => "is parked, for somebody to correct",
    }
}

/// Why a deed leaves dead letters of this state alone.
fn left_alone(kind: OperationKind, state: DeadLetterState) -> &'static str {
    match (kind, state) {
        (OperationKind::Reopen, DeadLetterState::Waiting) => "is open already",
        (_, DeadLetterState::Discarded) => "reopen it first",
        (_, DeadLetterState::Waiting | DeadLetterState::Parked | DeadLetterState::Recovered) => {
            "nothing to do"
        }
    }
}

/// What a run would do, for people.
pub fn plan(store: &str, plan: &OperationPlan, rate: Option<f64>, canary: u64) -> String {
    let mut text = format!("{} in {store}\n\n", plan.kind.as_str());
    if plan.dead_letters == 0 {
        text.push_str("no dead letter of this selection is to be changed\n");
    } else {
        let rows = plan.verdicts.iter().map(|(verdict, dead_letters)| {
            [verdict.as_str().to_owned(), count(*dead_letters), predicted(plan.kind, *verdict).to_owned()]
        });
        text.push_str(&table_with(["verdict", "dead letters", "what happens"], &["dead letters"], rows));
    }
    for (state, dead_letters) in &plan.left_out {
        let why = left_alone(plan.kind, *state);
        text.push_str(&format!("left alone: {} {} ({why})\n", count(*dead_letters), state.as_str()));
    }
    if !plan.missing.is_empty() {
        text.push_str(&format!("not found: {}\n", counted(plan.missing.len() as u64, "dead letter")));
        for id in plan.missing.iter().take(NAMED) {
            text.push_str(&format!("  {id}\n"));
        }
    }
    if let Some(rate) = rate.filter(|_| plan.dead_letters > 0) {
        let takes = span(micros(plan.dead_letters as f64 / rate));
        text.push_str(&format!("\ntakes about {takes} at {}/s", count(rate as u64)));
        if canary > 0 {
            let canary = counted(canary.min(plan.dead_letters), "dead letter");
            text.push_str(&format!("; the first {canary} must end as predicted, or it stops"));
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
    kind: &'static str,
    dead_letters: u64,
    verdicts: BTreeMap<&'static str, u64>,
    left_alone: BTreeMap<&'static str, u64>,
    not_found: Vec<&'p str>,
    takes_seconds: Option<f64>,
}

/// What a run would do, for programs.
pub fn plan_json(store: &str, plan: &OperationPlan, rate: Option<f64>) -> String {
    json(&PlanJson {
        store,
        kind: plan.kind.as_str(),
        dead_letters: plan.dead_letters,
        verdicts: plan
            .verdicts
            .iter()
            .map(|(verdict, dead_letters)| (verdict.as_str(), *dead_letters))
            .collect(),
        left_alone: plan
            .left_out
            .iter()
            .map(|(state, dead_letters)| (state.as_str(), *dead_letters))
            .collect(),
        not_found: plan.missing.iter().map(|id| id.as_str()).collect(),
        takes_seconds: rate.map(|rate| plan.dead_letters as f64 / rate),
    })
}

/// What a run did, for people.
pub fn ended(store: &str, ended: &OperationReport) -> String {
    let OperationReport { run, counts, .. } = ended;
    let done = match run.state {
        OperationStatus::Finished => counted(run.dead_letters, "dead letter"),
        OperationStatus::Begun | OperationStatus::Stopped => {
            format!("{} of {}", count(counts.dead_letters()), counted(run.dead_letters, "dead letter"))
        }
    };
    let (kind, state) = (run.kind.as_str(), run.state.as_str());
    let mut text = format!("{kind} in {store}: run {} {state}, {done}\n\n", run.id);
    let rows = counts
        .outcomes
        .iter()
        .map(|(outcome, dead_letters)| [outcome.as_str().to_owned(), count(*dead_letters)]);
    text.push_str(&table_with(["now", "dead letters"], &["dead letters"], rows));
    if counts.differed > 0 {
        let differed = counted(counts.differed, "dead letter");
        text.push_str(&format!("\n{differed} ended otherwise than was predicted\n"));
        for Misprediction { id, predicted, outcome } in counts.differences.iter().take(NAMED) {
            text.push_str(&format!("  {id}  predicted {}, is {}\n", predicted.as_str(), outcome.as_str()));
        }
    }
    text
}

#[derive(Serialize)]
struct EndedJson<'e> {
    store: &'e str,
    run_id: &'e str,
    kind: &'static str,
    state: &'static str,
    end: &'static str,
    dead_letters: u64,
    done: u64,
    outcomes: BTreeMap<&'static str, u64>,
    differed: u64,
    differences: Vec<DifferenceJson<'e>>,
}

#[derive(Serialize)]
struct DifferenceJson<'e> {
    id: &'e str,
    predicted: &'static str,
    is: &'static str,
}

/// What a run did, for programs.
pub fn ended_json(store: &str, ended: &OperationReport) -> String {
    let OperationReport { run, counts, end } = ended;
    json(&EndedJson {
        store,
        run_id: run.id.as_str(),
        kind: run.kind.as_str(),
        state: run.state.as_str(),
        end: match end {
            OperationEnd::Finished => "finished",
            OperationEnd::Stopped => "stopped",
            OperationEnd::Differed => "differed",
        },
        dead_letters: run.dead_letters,
        done: counts.dead_letters(),
        outcomes: counts
            .outcomes
            .iter()
            .map(|(outcome, dead_letters)| (outcome.as_str(), *dead_letters))
            .collect(),
        differed: counts.differed,
        differences: counts
            .differences
            .iter()
            .map(|Misprediction { id, predicted, outcome }| DifferenceJson {
                id: id.as_str(),
                predicted: predicted.as_str(),
                is: outcome.as_str(),
            })
            .collect(),
    })
}

/// Words of the command line that select dead letters, for a question.
pub fn question(plan: &OperationPlan) -> String {
    format!("{} {}?", plan.kind.as_str(), counted(plan.dead_letters, "dead letter"))
}

/// A run that is gone on with, for people.
pub fn resumed(run: &ecom_domain::bulk_operation::BulkOperation) -> String {
    let (kind, dead_letters) = (run.kind.as_str(), counted(run.dead_letters, "dead letter"));
    format!("going on with run {}: {kind} of {dead_letters}, begun by {}", run.id, plain(&run.actor))
}
