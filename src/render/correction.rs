//! A correction before it is made and after, as text and JSON.

use serde::Serialize;

use super::{json, meaning, plain};
use ecom_codec::envelope::rfc3339;
use ecom_dlq::body_difference::{FieldDifference, difference};
use ecom_dlq::correct::{CorrectionPlan, CorrectionResult, CorrectionStatus};
use ecom_domain::bulk_operation::OperationId;
use ecom_domain::verdict::Verdict;

/// The difference and the verdict, for people.
pub fn plan(store: &str, plan: &CorrectionPlan) -> String {
    let dead_letter = &plan.record.dead_letter;
    let mut text = format!("correct {} {} in {store}\n\n", dead_letter.kind.as_str(), dead_letter.id);
    if !dead_letter.body.is_whole() {
        text.push_str("of the old body the dead-letter store keeps the beginning only\n");
    }
    let changes = difference(&dead_letter.body.bytes, &plan.body);
    if changes.is_empty() && dead_letter.body.is_whole() {
        text.push_str("the dead letter's own body, at a later time than the event it ties with\n");
    }
    for FieldDifference { field, was, becomes } in changes {
        let field = field.map(|field| format!("{field}: ")).unwrap_or_default();
        for (sign, side) in [("-", was), ("+", becomes)] {
            text.extend(side.map(|side| format!("  {sign} {field}{side}\n")));
        }
    }
    let (order, t) = (plan.order_id, rfc3339(plan.t.micros()));
    text.push_str(&format!("\na new event of order {order} at {t}: {}\n", means(plan.verdict)));
    text.extend(plan.replaces.iter().map(|was| format!("it replaces {was} in the row\n")));
    text
}

/// What a verdict means for an event that is about to be published.
fn means(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::AppliesNow => "it applies now",
        Verdict::StillWaiting => "its order is not there, so it will wait as a dead letter of its own",
        Verdict::Superseded => "the row shows a newer event, so it will change nothing",
        Verdict::AlreadyApplied | Verdict::Conflict | Verdict::Poison => meaning(verdict),
    }
}

#[derive(Serialize)]
struct ProposalJson<'p> {
    store: &'p str,
    dead_letter: &'p str,
    order_id: i64,
    event_time: String,
    verdict: &'static str,
    replaces: Option<&'p str>,
    changes: Vec<ChangeJson>,
}

#[derive(Serialize)]
struct ChangeJson {
    field: Option<String>,
    was: Option<String>,
    becomes: Option<String>,
}

/// The difference and the verdict, for programs.
pub fn proposal_json(store: &str, plan: &CorrectionPlan) -> String {
    let dead_letter = &plan.record.dead_letter;
    let changes = difference(&dead_letter.body.bytes, &plan.body);
    json(&ProposalJson {
        store,
        dead_letter: dead_letter.id.as_str(),
        order_id: plan.order_id.0,
        event_time: rfc3339(plan.t.micros()),
        verdict: plan.verdict.as_str(),
        replaces: plan.replaces.as_deref(),
        changes: changes
            .into_iter()
            .map(|FieldDifference { field, was, becomes }| ChangeJson { field, was, becomes })
            .collect(),
    })
}

/// What was done, for people.
pub fn corrected(
    plan: &CorrectionPlan,
    corrected: &CorrectionResult,
    taken: &CorrectionStatus,
    run: &OperationId,
) -> String {
    let (id, kind) = (&plan.record.dead_letter.id, plan.record.dead_letter.kind.as_str());
    let (message, t) = (plain(&corrected.message_id), rfc3339(corrected.t.micros()));
    let state = corrected.outcome.as_str();
    let mut text = format!("published as message {message} at {t}, run {run}\nletter {id} is {state}\n");
    text.push_str(&match taken {
        CorrectionStatus::Applied(Verdict::AlreadyApplied) => {
            let order = plan.order_id;
            format!("the {kind} was taken: the row of order {order} shows it\n")
        }
        CorrectionStatus::Applied(_) => format!("the {kind} was taken: the row shows a newer event\n"),
        CorrectionStatus::DeadLettered(back) => {
            format!("it was refused in its turn, and is dead letter {back} now\n")
        }
        CorrectionStatus::Pending => match kind {
            "order" => "order_consumer has not taken it yet\n".to_owned(),
            _ => "payment_consumer has not taken it yet\n".to_owned(),
        },
    });
    text
}

#[derive(Serialize)]
struct CorrectedJson<'c> {
    store: &'c str,
    run_id: &'c str,
    dead_letter: &'c str,
    message_id: &'c str,
    event_time: String,
    is: &'static str,
    taken: &'static str,
    came_back_as: Option<&'c str>,
}

/// What was done, for programs.
pub fn corrected_json(
    store: &str,
    plan: &CorrectionPlan,
    corrected: &CorrectionResult,
    taken: &CorrectionStatus,
    run: &OperationId,
) -> String {
    json(&CorrectedJson {
        store,
        run_id: run.as_str(),
        dead_letter: plan.record.dead_letter.id.as_str(),
        message_id: &corrected.message_id,
        event_time: rfc3339(corrected.t.micros()),
        is: corrected.outcome.as_str(),
        taken: match taken {
            CorrectionStatus::Applied(verdict) => verdict.as_str(),
            CorrectionStatus::DeadLettered(_) => "came_back",
            CorrectionStatus::Pending => "not_yet",
        },
        came_back_as: match taken {
            CorrectionStatus::DeadLettered(back) => Some(back.as_str()),
            CorrectionStatus::Applied(_) | CorrectionStatus::Pending => None,
        },
    })
}
