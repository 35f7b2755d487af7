//! `dlq_handler correct`.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::question;
use crate::cli::{Answer, CorrectArgs};
use crate::context::Context;
use crate::desk;
use crate::exit::{Exit, Stop};
use crate::output;
use crate::render::correction as render;
use crate::roles::{close, policy, require_subscription};
use crate::wiring::{self, Folder};
use ecom_bus::Bus;
use ecom_codec::json::BODY_LIMIT;
use ecom_dlq::Desk;
use ecom_dlq::correct::{Proposal, Refusal, Taken};
use ecom_dlq::next::Command;
use ecom_domain::letter::State;
use ecom_domain::run::Deed;
use ecom_domain::verdict::Verdict;

/// How long a consumer is given to take the correction before that is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `dlq_handler correct`.
pub(crate) async fn correct(context: &Context, args: &CorrectArgs) -> Result<Exit, Stop> {
    let body = body(&args.with)?;
    if !args.dry_run {
        question::somebody_answers(args.yes)?;
    }
    let (bus, store) = wiring::both(context, Folder::MustExist).await?;
    let desk = desk::on(context, &store);
    let corrected = correct_on(context, args, &desk, bus.as_ref(), body).await;
    close(bus.as_ref()).await;
    corrected
}

async fn correct_on(
    context: &Context,
    args: &CorrectArgs,
    desk: &Desk,
    bus: &dyn Bus,
    body: Bytes,
) -> Result<Exit, Stop> {
    let store = desk.facts.describe();
    let proposal = match desk.propose(&args.id, body).await {
        Ok(proposal) => proposal,
        Err(refusal) => return refused(context, refusal),
    };
    let text = render::proposal(&store, &proposal);
    match (args.dry_run, args.format) {
        (true, Answer::Table) => return output::data(&text).map(|()| Exit::Done),
        (true, Answer::Json) => {
            return output::data(&render::proposal_json(&store, &proposal)).map(|()| Exit::Done);
        }
        (false, _) => eprintln!("{text}"),
    }
    if !question::says_yes(context, "publish it, and discard the letter?", args.yes).await? {
        eprintln!("nothing was changed");
        return Ok(Exit::No);
    }
    publish(context, args, desk, bus, &proposal).await
}

async fn publish(
    context: &Context,
    args: &CorrectArgs,
    desk: &Desk,
    bus: &dyn Bus,
    proposal: &Proposal,
) -> Result<Exit, Stop> {
    let topic = context.config.bus.topics.of(proposal.record.letter.kind);
    require_subscription(bus, topic).await?;
    let publisher = bus.publisher(topic, 1).await?;
    let plan = desk.plan_for(Deed::Correct, &proposal.record, proposal.verdict);
    let note = args.note.clone();
    let run = desk.begin(plan, note).await?;
    let settler = desk.settler(&run, policy(&context.config.dead_letters));
    let corrected = match desk.correct(proposal, &settler, publisher.as_ref()).await {
        Ok(corrected) => corrected,
        Err(refusal) => return refused(context, refusal),
    };
    let run = desk.finish(run, corrected.outcome).await?;
    let patience = if proposal.verdict == Verdict::StillWaiting { Duration::ZERO } else { PATIENCE };
    let taken = tokio::select! {
        biased;
        () = context.stop.cancelled() => Taken::NotYet,
        taken = desk.taken(proposal, &corrected, &settler, patience) => taken?,
    };
    output::data(&match args.format {
        Answer::Table => render::corrected(proposal, &corrected, &taken, &run.id),
        Answer::Json => render::corrected_json(&desk.facts.describe(), proposal, &corrected, &taken, &run.id),
    })?;
    let next = match &taken {
        Taken::Shown(_) => return Ok(Exit::Done),
        Taken::CameBack(id) => Command::show(id),
        Taken::NotYet => Command::explain(proposal.order_id),
    };
    eprintln!("next: {}", output::spelt(&next, &context.common));
    Ok(if matches!(taken, Taken::CameBack(_)) { Exit::No } else { Exit::Done })
}

/// Says why a correction is not made.
fn refused(context: &Context, refusal: Refusal) -> Result<Exit, Stop> {
    let spell = |command: &Command| output::spelt(command, &context.common);
    let hint = match &refusal {
        Refusal::Halt(_) => return Err(Stop::failed(refusal.to_string())),
        Refusal::NoEvent { .. } | Refusal::OtherOrder { .. } | Refusal::Same => {
            let hint = match &refusal {
                Refusal::Same => "to have it tried as it is, retry it",
                Refusal::OtherOrder { .. } => {
                    "a correction stays with its order: discard this letter, and publish a new event for the other"
                }
                _ => "nothing was published",
            };
            return Err(Stop::usage(refusal.to_string()).hint(hint));
        }
        Refusal::Done { .. } => {
            eprintln!("{refusal}: nothing was done");
            return Ok(Exit::Done);
        }
        Refusal::Closed { id, state: State::Discarded } => {
            format!("open it first: {}", spell(&Command::reopen(id)))
        }
        Refusal::Closed { id, .. } => format!("see what became of it: {}", spell(&Command::show(id))),
        Refusal::Unknown(_) => spell(&Command::list(&Default::default())),
    };
    eprintln!("error: {refusal}");
    eprintln!("hint: {hint}");
    Ok(Exit::No)
}

/// The corrected body, byte for byte.
fn body(from: &Path) -> Result<Bytes, Stop> {
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that a larger body is seen to be.
    let most = BODY_LIMIT as u64 + 1;
    let read = match from.as_os_str() == "-" {
        true => std::io::stdin().lock().take(most).read_to_end(&mut bytes),
        false => std::fs::File::open(from).and_then(|file| file.take(most).read_to_end(&mut bytes)),
    };
    read.map_err(|error| Stop::usage(format!("could not read {}: {error}", from.display())))?;
    Ok(bytes.into())
}
