//! Plans and reports of bulk operations as text.

use serde::Serialize;

use super::screen::Screen;
use super::table::{Column, table};
use super::terminal::plain;
use super::{count, counted, json, span};
use ecom_dlq::execute::OperationReport;
use ecom_dlq::outcome_counts::Misprediction;
use ecom_dlq::plan::{OperationPlan, PlannedDeadLetter};
use ecom_domain::bulk_operation::{BulkOperation, OperationKind, OperationStatus};
use ecom_domain::dead_letter::{DeadLetterState, EventKind};
use ecom_domain::verdict::Verdict;

/// Dead letters named one by one in a text.
const NAMED: usize = 10;

/// The predicted outcome of an operation on a dead letter with this verdict.
pub fn predicted(kind: OperationKind, verdict: Verdict) -> &'static str {
    match (kind, verdict) {
        (OperationKind::Retry | OperationKind::Correct, Verdict::AppliesNow) => "applied, then recovered",
        (OperationKind::Retry | OperationKind::Correct, Verdict::AlreadyApplied) => {
            "recovered: the row already shows it"
        }
        (OperationKind::Retry | OperationKind::Correct, Verdict::Superseded) => {
            "recovered: the row shows a newer event"
        }
        (OperationKind::Retry | OperationKind::Correct, Verdict::StillWaiting) => {
            "still waiting: its order is not recorded"
        }
        (OperationKind::Retry | OperationKind::Correct, Verdict::Conflict) => {
            "parked: the row shows another event with the same event time"
        }
        (OperationKind::Retry | OperationKind::Correct, Verdict::Poison) => {
            "parked: correct it or discard it"
        }
        (OperationKind::Discard, Verdict::AppliesNow) => "discarded, although a retry would apply it",
        (OperationKind::Discard, Verdict::AlreadyApplied) => "recovered instead: the row already shows it",
        (OperationKind::Discard, Verdict::Superseded) => "recovered instead: the row shows a newer event",
        (OperationKind::Discard, Verdict::StillWaiting | Verdict::Conflict | Verdict::Poison) => "discarded",
        (OperationKind::Reopen, Verdict::AppliesNow) => "waiting; its next attempt applies it",
        (OperationKind::Reopen, Verdict::AlreadyApplied | Verdict::Superseded) => {
            "waiting; its next attempt closes it"
        }
        (OperationKind::Reopen, Verdict::StillWaiting) => "waiting for its order",
        (OperationKind::Reopen, Verdict::Conflict) => "waiting; its next attempt parks it again",
        (OperationKind::Reopen, Verdict::Poison) => "parked, to be corrected",
    }
}

/// The reason why an operation leaves dead letters of this state alone.
fn left_alone(kind: OperationKind, state: DeadLetterState) -> &'static str {
    match (kind, state) {
        (OperationKind::Reopen, DeadLetterState::Waiting) => "already open",
        (_, DeadLetterState::Discarded) => "reopen it first",
        (_, DeadLetterState::Waiting | DeadLetterState::Parked | DeadLetterState::Recovered) => {
            "nothing to do"
        }
    }
}

/// A plan: dead letters by verdict, those left alone, those not found, the duration.
pub fn plan(plan: &OperationPlan, rate: Option<f64>, canary: u64, screen: Screen) -> String {
    let kind = plan.kind.as_str();
    let mut text = format!("{kind} in {}\n\n", plan.store);
    if plan.dead_letters == 0 {
        text.push_str(&format!("no dead letters to {kind} in this selection\n"));
    } else {
        let rows = plan.verdicts.iter().map(|(verdict, dead_letters)| {
            [verdict.as_str().to_owned(), count(*dead_letters), predicted(plan.kind, *verdict).to_owned()]
        });
        let columns = [
            Column::left("verdict"),
            Column::right("dead letters"),
            Column::left("predicted outcome").wrapped(20),
        ];
        text.push_str(&table(screen, columns, rows));
    }
    for (state, dead_letters) in &plan.left_alone {
        let why = left_alone(plan.kind, *state);
        text.push_str(&format!("left alone: {} {} ({why})\n", count(*dead_letters), state.as_str()));
    }
    if !plan.not_found.is_empty() {
        text.push_str(&format!("not found: {}\n", counted(plan.not_found.len() as u64, "dead letter")));
        for id in plan.not_found.iter().take(NAMED) {
            text.push_str(&format!("  {id}\n"));
        }
    }
    if let Some(rate) = rate.filter(|_| plan.dead_letters > 0) {
        let takes = span(micros(plan.dead_letters as f64 / rate));
        text.push_str(&format!("\ntakes about {takes} at {}/s", count(rate as u64)));
        if canary > 0 {
            let canary = counted(canary.min(plan.dead_letters), "dead letter");
            text.push_str(&format!("; the first {canary} must end as predicted, or the {kind} stops"));
        }
        text.push('\n');
    }
    screen.wrapped(&text)
}

#[expect(clippy::cast_possible_truncation, reason = "a span of time in microseconds")]
fn micros(seconds: f64) -> i64 {
    (seconds * 1_000_000.0).ceil() as i64
}

/// A plan as JSON, with its duration at this rate.
pub fn plan_json(plan: &OperationPlan, rate: Option<f64>) -> String {
    #[derive(Serialize)]
    struct View<'p> {
        #[serde(flatten)]
        plan: &'p OperationPlan,
        takes_seconds: Option<f64>,
    }
    json(&View { plan, takes_seconds: rate.map(|rate| plan.dead_letters as f64 / rate) })
}

/// The report of an operation: dead letters by outcome, and those that did not end as predicted.
pub fn report(report: &OperationReport, screen: Screen) -> String {
    let OperationReport { store, operation, counts, .. } = report;
    let all = counted(operation.dead_letters, "dead letter");
    let done = match operation.state {
        OperationStatus::Finished => all,
        OperationStatus::Begun | OperationStatus::Stopped => {
            format!("{} of {all}", count(counts.dead_letters()))
        }
    };
    let (kind, state) = (operation.kind.as_str(), operation.state.as_str());
    let mut text = format!("{kind} in {store}: operation {} {state}, {done}\n\n", operation.id);
    let rows = counts
        .outcomes
        .iter()
        .map(|(outcome, dead_letters)| [outcome.as_str().to_owned(), count(*dead_letters)]);
    text.push_str(&table(screen, [Column::left("outcome"), Column::right("dead letters")], rows));
    if counts.differed > 0 {
        let differed = counted(counts.differed, "dead letter");
        text.push_str(&format!("\n{differed} did not end as predicted\n"));
        for Misprediction { id, predicted, outcome } in counts.differences.iter().take(NAMED) {
            let (predicted, outcome) = (predicted.as_str(), outcome.as_str());
            text.push_str(&format!("  {id}  verdict {predicted}, outcome {outcome}\n"));
        }
    }
    screen.wrapped(&text)
}

/// The question to confirm a plan. One dead letter is named with its order and payment.
pub fn question(plan: &OperationPlan) -> String {
    let (operation, dead_letters) = (plan.kind.as_str(), counted(plan.dead_letters, "dead letter"));
    match &plan.only {
        Some(only) => format!("{operation} {dead_letters}, {}?", subject(only)),
        None => format!("{operation} {dead_letters}?"),
    }
}

/// The order and payment of a dead letter, and its id.
fn subject(only: &PlannedDeadLetter) -> String {
    let PlannedDeadLetter { id, kind, order_id, payment_id } = only;
    let number = |number: Option<String>| number.unwrap_or_else(|| "unknown".to_owned());
    let order = number(order_id.map(|order| order.to_string()));
    match kind {
        EventKind::Order => format!("order {order} ({id})"),
        EventKind::Payment => {
            let payment = number(payment_id.map(|payment| payment.to_string()));
            format!("payment {payment} of order {order} ({id})")
        }
    }
}

/// The line that announces a resumed operation.
pub fn resumed(operation: &BulkOperation) -> String {
    let (kind, dead_letters) = (operation.kind.as_str(), counted(operation.dead_letters, "dead letter"));
    let actor = plain(&operation.actor);
    format!("resuming operation {}: {kind} of {dead_letters}, started by {actor}", operation.id)
}
