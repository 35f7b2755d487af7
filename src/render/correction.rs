//! A correction before it is made and after, as text and JSON.

use serde::Serialize;

use super::{json, meaning, plain};
use ecom_codec::envelope::rfc3339;
use ecom_dlq::correct::{Corrected, Proposal, Taken};
use ecom_dlq::difference::{Change, difference};
use ecom_domain::run::RunId;
use ecom_domain::verdict::Verdict;

/// The difference and the verdict, for people.
pub fn proposal(store: &str, proposal: &Proposal) -> String {
    let letter = &proposal.record.letter;
    let mut text = format!("correct {} {} in {store}\n\n", letter.kind.as_str(), letter.id);
    if !letter.body.is_whole() {
        text.push_str("of the old body the ledger keeps the beginning only\n");
    }
    let changes = difference(&letter.body.bytes, &proposal.body);
    if changes.is_empty() && letter.body.is_whole() {
        text.push_str("the letter's own body, at a later time than the event it ties with\n");
    }
    for Change { field, was, becomes } in changes {
        let field = field.map(|field| format!("{field}: ")).unwrap_or_default();
        for (sign, side) in [("-", was), ("+", becomes)] {
            text.extend(side.map(|side| format!("  {sign} {field}{side}\n")));
        }
    }
    let (order, t) = (proposal.order_id, rfc3339(proposal.t.micros()));
    text.push_str(&format!("\na new event of order {order} at {t}: {}\n", means(proposal.verdict)));
    text.extend(proposal.replaces.iter().map(|was| format!("it replaces {was} in the row\n")));
    text
}

/// What a verdict means for an event that is about to be published.
fn means(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::AppliesNow => "it applies now",
        Verdict::StillWaiting => "its order is not there, so it will wait as a letter of its own",
        Verdict::Superseded => "the row shows a newer event, so it will change nothing",
        Verdict::AlreadyApplied | Verdict::Conflict | Verdict::Poison => meaning(verdict),
    }
}

#[derive(Serialize)]
struct ProposalJson<'p> {
    store: &'p str,
    letter: &'p str,
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
pub fn proposal_json(store: &str, proposal: &Proposal) -> String {
    let letter = &proposal.record.letter;
    let changes = difference(&letter.body.bytes, &proposal.body);
    json(&ProposalJson {
        store,
        letter: letter.id.as_str(),
        order_id: proposal.order_id.0,
        event_time: rfc3339(proposal.t.micros()),
        verdict: proposal.verdict.as_str(),
        replaces: proposal.replaces.as_deref(),
        changes: changes
            .into_iter()
            .map(|Change { field, was, becomes }| ChangeJson { field, was, becomes })
            .collect(),
    })
}

/// What was done, for people.
pub fn corrected(proposal: &Proposal, corrected: &Corrected, taken: &Taken, run: &RunId) -> String {
    let (id, kind) = (&proposal.record.letter.id, proposal.record.letter.kind.as_str());
    let (message, t) = (plain(&corrected.message_id), rfc3339(corrected.t.micros()));
    let state = corrected.outcome.as_str();
    let mut text = format!("published as message {message} at {t}, run {run}\nletter {id} is {state}\n");
    text.push_str(&match taken {
        Taken::Shown(Verdict::AlreadyApplied) => {
            let order = proposal.order_id;
            format!("the {kind} was taken: the row of order {order} shows it\n")
        }
        Taken::Shown(_) => format!("the {kind} was taken: the row shows a newer event\n"),
        Taken::CameBack(back) => format!("it was refused in its turn, and is letter {back} now\n"),
        Taken::NotYet => match kind {
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
    letter: &'c str,
    message_id: &'c str,
    event_time: String,
    is: &'static str,
    taken: &'static str,
    came_back_as: Option<&'c str>,
}

/// What was done, for programs.
pub fn corrected_json(
    store: &str,
    proposal: &Proposal,
    corrected: &Corrected,
    taken: &Taken,
    run: &RunId,
) -> String {
    json(&CorrectedJson {
        store,
        run_id: run.as_str(),
        letter: proposal.record.letter.id.as_str(),
        message_id: &corrected.message_id,
        event_time: rfc3339(corrected.t.micros()),
        is: corrected.outcome.as_str(),
        taken: match taken {
            Taken::Shown(verdict) => verdict.as_str(),
            Taken::CameBack(_) => "came_back",
            Taken::NotYet => "not_yet",
        },
        came_back_as: match taken {
            Taken::CameBack(back) => Some(back.as_str()),
            Taken::Shown(_) | Taken::NotYet => None,
        },
    })
}
