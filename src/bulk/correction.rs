//! `dlq_handler correct`: parse, plan, confirm, execute, report.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::confirm;
use crate::cli::{CorrectArgs, OutputFormat};
use crate::context::Context;
use crate::exit::{CliError, Exit};
use crate::inspect;
use crate::output;
use crate::preflight::require_subscription;
use crate::render::command::Command;
use crate::render::{correction as render, json};
use crate::roles::policy;
use crate::shutdown::close;
use crate::wiring::{self, DataFolder};
use ecom_bus::Bus;
use ecom_codec::contract::BODY_LIMIT;
use ecom_dlq::DeadLetterQueue;
use ecom_dlq::correct::{CorrectionError, CorrectionPlan, CorrectionReport, CorrectionStatus};
use ecom_dlq::next_action::NextAction;
use ecom_dlq::selection::Selection;
use ecom_domain::bulk_operation::OperationKind;
use ecom_domain::dead_letter::DeadLetterState;
use ecom_domain::verdict::Verdict;
use ecom_telemetry::stderr;

/// The time that a consumer gets to handle the correction before it is reported as pending.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `dlq_handler correct`.
pub(crate) async fn correct(context: &Context, args: &CorrectArgs) -> Result<Exit, CliError> {
    let body = body(&args.with)?;
    if !args.dry_run {
        confirm::require_terminal(args.yes)?;
    }
    let (bus, store) = wiring::both(context, DataFolder::MustExist).await?;
    let queue = inspect::queue(context, &store);
    let exit = correct_on(context, args, &queue, bus.as_ref(), body).await;
    close(bus.as_ref()).await;
    exit
}

async fn correct_on(
    context: &Context,
    args: &CorrectArgs,
    queue: &DeadLetterQueue,
    bus: &dyn Bus,
    body: Bytes,
) -> Result<Exit, CliError> {
    let id = inspect::identified_one(context, queue, &args.id).await?;
    let plan = match queue.plan_correction(&id, body).await {
        Ok(plan) => plan,
        Err(error) => return refused(context, error),
    };
    match (args.dry_run, args.format) {
        (true, OutputFormat::Table) => return output::data(&render::plan(&plan)).map(|()| Exit::Done),
        (true, OutputFormat::Json) => return output::data(&json(&plan)).map(|()| Exit::Done),
        (false, _) => stderr::say(render::plan(&plan)),
    }
    if !confirm::confirm(context, &render::question(&plan), args.yes).await? {
        stderr::say("nothing was changed");
        return Ok(Exit::NegativeResult);
    }
    let report = match publish(context, args, queue, bus, &plan).await? {
        Ok(report) => report,
        Err(error) => return refused(context, error),
    };
    output::data(&match args.format {
        OutputFormat::Table => render::report(&report),
        OutputFormat::Json => json(&report),
    })?;
    let (next, exit) = match report.status {
        CorrectionStatus::Applied(_) => return Ok(Exit::Done),
        CorrectionStatus::DeadLettered(id) => (NextAction::Show { id }, Exit::NegativeResult),
        CorrectionStatus::Pending => (NextAction::Explain { order_id: plan.order_id }, Exit::Done),
    };
    stderr::say(format_args!("next: {}", output::spelt(&Command::from(&next), &context.common)));
    Ok(exit)
}

/// Publishes the correction as a bulk operation and waits until a consumer handled it. The inner error is a
/// dead letter that was closed meanwhile.
async fn publish<'p>(
    context: &Context,
    args: &CorrectArgs,
    queue: &DeadLetterQueue,
    bus: &dyn Bus,
    plan: &'p CorrectionPlan,
) -> Result<Result<CorrectionReport<'p>, CorrectionError>, CliError> {
    let topic = context.config.bus.topics.of(plan.record.dead_letter.kind);
    require_subscription(&context.startup, bus, topic).await?;
    let publisher = bus.publisher(topic, 1).await?;
    let operation_plan = queue.plan_one(OperationKind::Correct, &plan.record, plan.verdict);
    let operation = queue.begin(operation_plan, args.note.clone()).await?;
    let resolver = queue.resolver(&operation, policy(&context.config.dead_letters));
    let result = match queue.correct(plan, &resolver, publisher.as_ref()).await {
        Ok(result) => result,
        Err(error) => return Ok(Err(error)),
    };
    let operation = queue.finish_correction(operation, result.outcome).await?;
    let patience = if plan.verdict == Verdict::StillWaiting { Duration::ZERO } else { PATIENCE };
    let status = tokio::select! {
        biased;
        () = context.stop.cancelled() => CorrectionStatus::Pending,
        status = queue.correction_status(plan, &result, &resolver, patience) => status?,
    };
    Ok(Ok(CorrectionReport { plan, operation_id: operation.id, result, status }))
}

/// Reports why a correction is refused, and what to do instead.
fn refused(context: &Context, error: CorrectionError) -> Result<Exit, CliError> {
    let spell = |action: NextAction| output::spelt(&Command::from(&action), &context.common);
    let message = error.to_string();
    let hint = match error {
        CorrectionError::Role(_) => return Err(CliError::failed(message)),
        CorrectionError::InvalidBody { .. } => {
            return Err(CliError::usage(message).hint("nothing was published"));
        }
        CorrectionError::DifferentOrder { .. } => {
            let hint = "discard this dead letter, and publish a new event for the other order";
            return Err(CliError::usage(message).hint(hint));
        }
        CorrectionError::TimeTaken { .. } => {
            "change the body, so that it is published at another time".to_owned()
        }
        CorrectionError::Unchanged => {
            return Err(CliError::usage(message).hint("to apply the dead letter as it is, retry it"));
        }
        CorrectionError::AlreadyCorrected { .. } => {
            stderr::say(format_args!("{message}: nothing to do"));
            return Ok(Exit::Done);
        }
        CorrectionError::NotOpen { id, state: DeadLetterState::Discarded } => {
            format!("reopen it first: {}", spell(NextAction::Reopen { id }))
        }
        CorrectionError::NotOpen { id, .. } => format!("see its history: {}", spell(NextAction::Show { id })),
        CorrectionError::NotFound(_) => {
            let selection = Selection::default();
            format!("list the dead letters: {}", spell(NextAction::List { selection }))
        }
    };
    stderr::error(message, Some(&hint));
    Ok(Exit::NegativeResult)
}

/// Reads the corrected body, byte for byte.
fn body(from: &Path) -> Result<Bytes, CliError> {
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that a larger body is refused and not cut.
    let most = BODY_LIMIT as u64 + 1;
    let read = match from.as_os_str() == "-" {
        true => std::io::stdin().lock().take(most).read_to_end(&mut bytes),
        false => std::fs::File::open(from).and_then(|file| file.take(most).read_to_end(&mut bytes)),
    };
    read.map_err(|error| CliError::usage(format!("could not read {}: {error}", from.display())))?;
    Ok(bytes.into())
}
