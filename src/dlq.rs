//! `dlq_handler`: its subcommands, and the role itself.

use super::admin::run_with_admin;
use super::bulk::{self, BulkCommand};
use super::cli::{DlqCommand, DlqHandler, RunArgs};
use super::context::Context;
use super::exit::{CliError, Exit};
use super::inspect;
use super::role_handle::RoleHandle;
use super::roles::{RoleDeps, supervise};
use super::setup::{self, Rights};
use ecom_domain::role::Role;
use ecom_pipeline::retry_queue::RetryQueue;
use ecom_pipeline::stop_conditions::StopConditions;
use ecom_pipeline::sweep::{WaitingDeadLetters, sweep};
use ecom_telemetry::stderr;

/// The time without a message after which `--once` considers the topic drained.
const DRAINED: std::time::Duration = std::time::Duration::from_secs(2);

/// Runs `dlq_handler`.
pub(crate) async fn main(context: Context, cli: &DlqHandler) -> Result<Exit, CliError> {
    if context.common.check {
        return setup::check(&context, Rights::Of(Role::DlqHandler.into())).await;
    }
    let exit = match &cli.command {
        None => return run(context.of_role(), &cli.run).await,
        Some(DlqCommand::Run(args)) => return run(context.of_role(), args).await,
        Some(DlqCommand::Triage(args)) => inspect::triage(&context, args).await,
        Some(DlqCommand::List(args)) => inspect::list(&context, args).await,
        Some(DlqCommand::Show(args)) => inspect::show(&context, args).await,
        Some(DlqCommand::Explain(args)) => inspect::explain(&context, args).await,
        Some(DlqCommand::Retry(args)) => BulkCommand::from(args).execute(&context).await,
        Some(DlqCommand::Correct(args)) => bulk::correct(&context, args).await,
        Some(DlqCommand::Discard(args)) => BulkCommand::from(args).execute(&context).await,
        Some(DlqCommand::Reopen(args)) => BulkCommand::from(args).execute(&context).await,
        Some(DlqCommand::Report(args)) => inspect::report(&context, args).await,
        Some(DlqCommand::History(args)) => inspect::history(&context, args).await,
    }?;
    context.require_all_read()?;
    Ok(exit)
}

async fn run(context: Context, args: &RunArgs) -> Result<Exit, CliError> {
    let mut bounds = args.consumer.bounds.bounds();
    if args.once {
        bounds.idle = Some(bounds.idle.unwrap_or(DRAINED));
    }
    let handle = RoleHandle::new(Role::DlqHandler, &context).with_dead_letter_gauges(context.clock);
    let role = run_role(&context, args, bounds, &handle);
    run_with_admin(&context, &[&handle], role).await
}

async fn run_role(
    context: &Context,
    args: &RunArgs,
    bounds: StopConditions,
    handle: &RoleHandle,
) -> Result<Exit, CliError> {
    let deps = RoleDeps::connect(context, bounds).await?;
    let actor = context.actor(Role::DlqHandler.as_str());
    if !args.once {
        return supervise(context, &deps, handle, deps.dlq_handler(handle, actor)).await;
    }
    let once = async {
        let (retry_queue, _offered) = RetryQueue::channel();
        deps.dead_letter_intake(handle, actor.clone(), retry_queue).await?;
        if context.stop.is_cancelled() {
            return Ok(());
        }
        let summary = sweep(&deps.resolver(handle, actor), WaitingDeadLetters::AreAttempted).await?;
        stderr::say(format_args!(
            "checked {} dead letters: {} recovered, {} still open, {} removed after their retention period",
            summary.dead_letters, summary.recovered, summary.open, summary.removed
        ));
        if summary.unreadable > 0 || summary.ended_early {
            return Err(CliError::failed("the sweep did not read all dead letters; see the warnings above")
                .hint("run it again once the store answers"));
        }
        Ok(())
    };
    supervise(context, &deps, handle, once).await
}
