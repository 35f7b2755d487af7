//! `dlq_handler`: what is asked for, and the running role.

use super::acts;
use super::cli::{DlqCommand, DlqHandler, RunArgs};
use super::context::Context;
use super::desk;
use super::exit::{Exit, Stop};
use super::heartbeats;
use super::roles::{Gauges, Site, attended, close, summarise, supervise};
use super::setup;
use ecom_pipeline::retries::Offers;
use ecom_pipeline::sweep::sweep;

/// How long the topic is silent before `--once` takes it as drained.
const DRAINED: std::time::Duration = std::time::Duration::from_secs(2);

/// Runs `dlq_handler`.
pub(crate) async fn main(context: Context, cli: &DlqHandler) -> Result<Exit, Stop> {
    if context.common.check {
        return setup::check(&context).await;
    }
    match &cli.command {
        None => run(&context, &cli.run).await,
        Some(DlqCommand::Run(args)) => run(&context, args).await,
        Some(DlqCommand::Triage(args)) => desk::triage(&context, args).await,
        Some(DlqCommand::List(args)) => desk::list(&context, args).await,
        Some(DlqCommand::Show(args)) => desk::show(&context, args).await,
        Some(DlqCommand::Explain(args)) => desk::explain(&context, args).await,
        Some(DlqCommand::Retry(args)) => acts::retry(&context, args).await,
        Some(DlqCommand::Correct(args)) => acts::correct(&context, args).await,
        Some(DlqCommand::Discard(args)) => acts::discard(&context, args).await,
        Some(DlqCommand::Reopen(args)) => acts::reopen(&context, args).await,
        Some(DlqCommand::Report(args)) => desk::report(&context, args).await,
        Some(DlqCommand::History(args)) => desk::history(&context, args).await,
    }
}

async fn run(context: &Context, args: &RunArgs) -> Result<Exit, Stop> {
    let mut bounds = args.consumer.bounds.bounds();
    if args.once {
        bounds.idle = Some(bounds.idle.unwrap_or(DRAINED));
    }
    let gauges = Gauges::new("dlq_handler", &context.chance).over_the_ledger(context.clock);
    let site = Site::connect(context, bounds).await?;
    let actor = context.actor("dlq_handler");
    if !args.once {
        return supervise(context, &site, &gauges, site.dlq_handler(&gauges, actor)).await;
    }
    let once = async {
        let (offers, _offered) = Offers::channel();
        site.letters(&gauges, actor.clone(), offers).await?;
        if context.stop.is_cancelled() {
            return Ok(());
        }
        let swept = sweep(&site.settler(&gauges, actor), None).await?;
        eprintln!(
            "looked at {} letters: {} recovered now, {} still open, {} removed after their retention",
            swept.letters, swept.recovered, swept.open, swept.removed
        );
        Ok(())
    };
    let outcome = attended(context, &gauges, heartbeats::beside(&site, &gauges, once)).await;
    close(site.bus.as_ref()).await;
    summarise(context, &gauges)?;
    outcome.map(|()| Exit::Done)
}
