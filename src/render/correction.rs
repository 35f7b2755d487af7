//! Plans and reports of corrections as text.

use super::meaning;
use super::terminal::{plain, value};
use ecom_codec::envelope::rfc3339;
use ecom_dlq::body_difference::FieldDifference;
use ecom_dlq::correct::{CorrectionPlan, CorrectionReport, CorrectionStatus};
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::dead_letter::EventKind;
use ecom_domain::role::Role;
use ecom_domain::verdict::Verdict;

/// The difference between the bodies, the verdict, and what is replaced.
pub fn plan(plan: &CorrectionPlan) -> String {
    let dead_letter = &plan.record.dead_letter;
    let (kind, store) = (dead_letter.kind.as_str(), &plan.store);
    let mut text = format!("correct {kind} {} in {store}\n\n", dead_letter.id);
    if !dead_letter.body.is_whole() {
        text.push_str("only the beginning of the old body is stored\n");
    }
    let changes = plan.changes();
    if changes.is_empty() && dead_letter.body.is_whole() {
        text.push_str("the body is unchanged, but a microsecond later than the event it conflicts with\n");
    }
    for FieldDifference { field, was, becomes } in changes {
        let field = field.map(|field| format!("{}: ", value(&field))).unwrap_or_default();
        for (sign, side) in [("-", was), ("+", becomes)] {
            text.extend(side.map(|side| format!("  {sign} {field}{}\n", value(&side))));
        }
    }
    let (order, t) = (plan.order_id, rfc3339(plan.t.micros()));
    text.push_str(&format!("\na new event of order {order} at {t}: {}\n", effect(plan.verdict)));
    let replaces = plan.replaces.as_ref().map(|was| plain(&was.to_string()));
    text.extend(replaces.map(|was| format!("it replaces {was} in the row\n")));
    text
}

/// The question to confirm a correction.
pub fn question(plan: &CorrectionPlan) -> String {
    let (order, dead_letter) = (plan.order_id, &plan.record.dead_letter);
    let event = match (dead_letter.kind, dead_letter.payment_id) {
        (EventKind::Order, _) => format!("order {order}"),
        (EventKind::Payment, Some(payment)) => format!("payment {payment} of order {order}"),
        (EventKind::Payment, None) => format!("the payment of order {order}"),
    };
    format!("publish {event} as corrected, and discard dead letter {}?", dead_letter.id)
}

/// The effect of publishing an event with this verdict.
fn effect(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::AppliesNow => "it applies now",
        Verdict::StillWaiting => "its order is not recorded, so it will be dead-lettered and wait",
        Verdict::Superseded => "the row shows a newer event, so it will change nothing",
        Verdict::AlreadyApplied => "the row already shows it, so it will change nothing",
        Verdict::Conflict | Verdict::Poison => meaning(verdict),
    }
}

/// The message that was published, the dead letter's state, and the fate of the message.
pub fn report(report: &CorrectionReport<'_>) -> String {
    let (plan, result) = (report.plan, &report.result);
    let (id, kind) = (&plan.record.dead_letter.id, plan.record.dead_letter.kind);
    let (message, t) = (plain(&result.message_id), rfc3339(result.t.micros()));
    let mut text = format!("published as message {message} at {t}, operation {}\n", report.operation_id);
    text.push_str(&match result.outcome {
        ActualOutcome::Discarded => format!("dead letter {id} is discarded: this message replaces it\n"),
        outcome => format!("dead letter {id} is {}\n", outcome.as_str()),
    });
    let (word, order) = (kind.as_str(), plan.order_id);
    text.push_str(&match &report.status {
        CorrectionStatus::Applied(Verdict::AlreadyApplied) => {
            format!("the {word} was applied: the row of order {order} shows it\n")
        }
        CorrectionStatus::Applied(_) => format!("the {word} was handled: the row shows a newer event\n"),
        CorrectionStatus::DeadLettered(id) => format!("the {word} was dead-lettered again, as {id}\n"),
        CorrectionStatus::Pending => {
            let consumer = match kind {
                EventKind::Order => Role::OrderConsumer,
                EventKind::Payment => Role::PaymentConsumer,
            };
            format!("{consumer} has not handled it yet\n")
        }
    });
    text
}
