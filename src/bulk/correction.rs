//! `dlq_handler correct`.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::question;
use crate::cli::{AnswerFormat, CorrectArgs};
use crate::context::Context;
use crate::exit::{CliError, Exit};
use crate::inspect;
use crate::output;
use crate::preflight::require_subscription;
use crate::render::correction as render;
use crate::roles::policy;
use crate::shutdown::close;
use crate::wiring::{self, DataFolder};
use ecom_bus::Bus;
use ecom_codec::json::BODY_LIMIT;
use ecom_dlq::DeadLetterQueue;
use ecom_dlq::correct::{CorrectionError, CorrectionPlan, CorrectionStatus};
use ecom_dlq::next::Command;
use ecom_domain::bulk_operation::OperationKind;
use ecom_domain::dead_letter::DeadLetterState;
use ecom_domain::verdict::Verdict;

/// How long a consumer is given to take the correction before that is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `dlq_handler correct`.
pub(crate) async fn correct(context: &Context, args: &CorrectArgs) -> Result<Exit, CliError> {
    let body = body(&args.with)?;
    if !args.dry_run {
        question::somebody_answers(args.yes)?;
    }
    let (bus, store) = wiring::both(context, DataFolder::MustExist).await?;
    let queue = inspect::on(context, &store);
    let corrected = correct_on(context, args, &queue, bus.as_ref(), body).await;
    close(bus.as_ref()).await;
    corrected
}

async fn correct_on(
    context: &Context,
    args: &CorrectArgs,
    queue: &DeadLetterQueue,
    bus: &dyn Bus,
    body: Bytes,
) -> Result<Exit, CliError> {
    let store = queue.facts.describe();
    let plan = match queue.propose(&args.id, body).await {
        Ok(plan) => plan,
        Err(refusal) => return refused(context, refusal),
    };
    let text = render::plan(&store, &plan);
    match (args.dry_run, args.format) {
        (true, AnswerFormat::Table) => return output::data(&text).map(|()| Exit::Done),
        (true, AnswerFormat::Json) => {
            return output::data(&render::proposal_json(&store, &plan)).map(|()| Exit::Done);
        }
        (false, _) => eprintln!("{text}"),
    }
    if !question::says_yes(context, "publish it, and discard the dead letter?", args.yes).await? {
        eprintln!("nothing was changed");
        return Ok(Exit::No);
    }
    publish(context, args, queue, bus, &plan).await
}

async fn publish(
    context: &Context,
    args: &CorrectArgs,
    queue: &DeadLetterQueue,
    bus: &dyn Bus,
    plan: &CorrectionPlan,
) -> Result<Exit, CliError> {
    let topic = context.config.bus.topics.of(plan.record.dead_letter.kind);
    require_subscription(bus, topic).await?;
    let publisher = bus.publisher(topic, 1).await?;
    let operation_plan = queue.plan_for(OperationKind::Correct, &plan.record, plan.verdict);
    let note = args.note.clone();
    let run = queue.begin(operation_plan, note).await?;
    let resolver = queue.resolver(&run, policy(&context.config.dead_letters));
    let corrected = match queue.correct(plan, &resolver, publisher.as_ref()).await {
        Ok(corrected) => corrected,
        Err(refusal) => return refused(context, refusal),
    };
    let run = queue.finish(run, corrected.outcome).await?;
    let patience = if plan.verdict == Verdict::StillWaiting { Duration::ZERO } else { PATIENCE };
    let taken = tokio::select! {
        biased;
        () = context.stop.cancelled() => CorrectionStatus::Pending,
        taken = queue.taken(plan, &corrected, &resolver, patience) => taken?,
    };
    output::data(&match args.format {
        AnswerFormat::Table => render::corrected(plan, &corrected, &taken, &run.id),
        AnswerFormat::Json => {
            render::corrected_json(&queue.facts.describe(), plan, &corrected, &taken, &run.id)
        }
    })?;
    let next = match &taken {
        CorrectionStatus::Applied(_) => return Ok(Exit::Done),
        CorrectionStatus::DeadLettered(id) => Command::show(id),
        CorrectionStatus::Pending => Command::explain(plan.order_id),
    };
    eprintln!("next: {}", output::spelt(&next, &context.common));
    Ok(if matches!(taken, CorrectionStatus::DeadLettered(_)) { Exit::No } else { Exit::Done })
}

/// Says why a correction is not made.
fn refused(context: &Context, refusal: CorrectionError) -> Result<Exit, CliError> {
    let spell = |command: &Command| output::spelt(command, &context.common);
    let hint = match &refusal {
        CorrectionError::Store(_) => return Err(CliError::failed(refusal.to_string())),
        CorrectionError::NoEvent { .. } | CorrectionError::OtherOrder { .. } | CorrectionError::Same => {
            let hint = match &refusal {
                CorrectionError::Same => "to have it tried as it is, retry it",
                CorrectionError::OtherOrder { .. } => {
                    "a correction stays with its order: discard this dead letter, and publish a new event for the other"
                }
                _ => "nothing was published",
            };
            return Err(CliError::usage(refusal.to_string()).hint(hint));
        }
        CorrectionError::Done { .. } => {
            eprintln!("{refusal}: nothing was done");
            return Ok(Exit::Done);
        }
        CorrectionError::Closed { id, state: DeadLetterState::Discarded } => {
            format!("open it first: {}", spell(&Command::reopen(id)))
        }
        CorrectionError::Closed { id, .. } => format!("see what became of it: {}", spell(&Command::show(id))),
        CorrectionError::Unknown(_) => spell(&Command::list(&Default::default())),
    };
    eprintln!("error: {refusal}");
    eprintln!("hint: {hint}");
    Ok(Exit::No)
}

/// The corrected body, byte for byte.
fn body(from: &Path) -> Result<Bytes, CliError> {
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that a larger body is seen to be.
    let most = BODY_LIMIT as u64 + 1;
    let read = match from.as_os_str() == "-" {
        true => std::io::stdin().lock().take(most).read_to_end(&mut bytes),
        false => std::fs::File::open(from).and_then(|file| file.take(most).read_to_end(&mut bytes)),
    };
    read.map_err(|error| CliError::usage(format!("could not read {}: {error}", from.display())))?;
    Ok(bytes.into())
}
