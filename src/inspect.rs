//! The operator's commands that only read: they open the store, ask the operator, and print its answer.

mod list;
mod progress;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::cli::{
    AnswerFormat, DeadLetterArgs, ExplainArgs, Format, HistoryArgs, ReportArgs, ReportFormat, TriageArgs,
};
use super::context::Context;
use super::exit::{CliError, Exit};
use super::output;
use super::role_handle::RoleHandle;
use super::roles::policy;
use super::wiring::{self, DataFolder, Store};
use crate::render;
use ecom_dlq::next::Command;
use ecom_dlq::{DeadLetterQueue, triage::Triage};
use ecom_domain::order::OrderId;
use ecom_domain::role::Role;
use ecom_pipeline::concurrency_limit::START;
use ecom_store::StoreError;

pub(crate) use list::list;
pub(crate) use progress::Progress;

/// The shortest time between two looks of `triage --watch`.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);
/// Moves a terminal's cursor to the top and clears it.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// The operator on a store.
pub(crate) fn on(context: &Context, store: &Store) -> DeadLetterQueue {
    let handle = RoleHandle::new(Role::DlqHandler, &context.entropy);
    DeadLetterQueue {
        facts: Arc::clone(&store.facts),
        dead_letter_store: Arc::clone(&store.dead_letter_store),
        operations: Arc::clone(&store.operations),
        retrier: handle.retrier,
        clock: context.clock,
        entropy: Arc::clone(&context.entropy),
        actor: context.person(),
        window: START.min(context.config.consumer.max_in_flight),
    }
}

/// The operator of a command that only reads. Never creates a data folder.
async fn open(context: &Context) -> Result<DeadLetterQueue, CliError> {
    let store = wiring::store(context, DataFolder::MustExist).await?;
    Ok(on(context, &store))
}

/// An answer of the operator, unless a signal comes before it.
async fn answer<T>(
    context: &Context,
    asked: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, CliError> {
    tokio::select! {
        biased;
        () = context.stop.cancelled() => Err(CliError::failed("stopped before everything was read")),
        answer = asked => answer.map_err(CliError::from),
    }
}

/// Runs `dlq_handler triage`.
pub(crate) async fn triage(context: &Context, args: &TriageArgs) -> Result<Exit, CliError> {
    let queue = open(context).await?;
    let policy = policy(&context.config.dead_letters);
    let Some(interval) = args.watch else {
        let progress = Progress::new();
        let triage = answer(context, queue.triage(&policy, &|seen| progress.at(seen))).await?;
        progress.done();
        output::data(&rendered(context, &triage, args.format))?;
        return Ok(Exit::Done);
    };
    let clear = if std::io::stdout().is_terminal() { CLEAR } else { "" };
    loop {
        tokio::select! {
            biased;
            () = context.stop.cancelled() => return Ok(Exit::Done),
            triage = queue.triage(&policy, &|_| {}) => match triage {
                Ok(triage) => output::data(&format!("{clear}{}\n", rendered(context, &triage, args.format)))?,
                Err(error) if error.is_outage() => eprintln!("{error}; looking again"),
                Err(error) => return Err(error.into()),
            },
        }
        tokio::select! {
            biased;
            () = context.stop.cancelled() => return Ok(Exit::Done),
            () = tokio::time::sleep(interval.max(SHORTEST_WATCH)) => {}
        }
    }
}

fn rendered(context: &Context, triage: &Triage, format: AnswerFormat) -> String {
    let spell = |command: &Command| output::spelt(command, &context.common);
    match format {
        AnswerFormat::Table => render::triage::text(triage, &spell),
        AnswerFormat::Json => render::triage::as_json(triage, &spell),
    }
}

/// Runs `dlq_handler show`.
pub(crate) async fn show(context: &Context, args: &DeadLetterArgs) -> Result<Exit, CliError> {
    let queue = open(context).await?;
    let spell = |command: &Command| output::spelt(command, &context.common);
    let Some(shown) = answer(context, queue.show(&args.id)).await? else {
        eprintln!("error: there is no dead letter {} in {}", args.id, queue.facts.describe());
        let list = output::spelt(&Command::list(&Default::default()), &context.common);
        eprintln!(
            "hint: resolved dead letters are removed after their retention; to see what is there: {list}"
        );
        return Ok(Exit::No);
    };
    if args.body {
        write(args.out.as_deref(), &shown.record.dead_letter.body.bytes)?;
        if !shown.record.dead_letter.body.is_whole() {
            eprintln!(
                "this is the beginning of the body; the dead-letter store does not keep more of one so large"
            );
        }
        return Ok(Exit::Done);
    }
    let text = match args.format {
        AnswerFormat::Table => render::dead_letter::text(&shown, &spell),
        AnswerFormat::Json => render::dead_letter::as_json(&shown, &spell),
    };
    output::to(args.out.as_deref(), &text)?;
    Ok(Exit::Done)
}

/// Bytes to a file or stdout, nothing added.
fn write(file: Option<&Path>, bytes: &[u8]) -> Result<(), CliError> {
    let mut sink = output::sink(file)?;
    match sink.write_all(bytes).and_then(|()| sink.flush()).map_err(CliError::from) {
        Err(stop) if !stop.is_closed_pipe() => Err(stop),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Runs `dlq_handler explain`.
pub(crate) async fn explain(context: &Context, args: &ExplainArgs) -> Result<Exit, CliError> {
    let queue = open(context).await?;
    let spell = |command: &Command| output::spelt(command, &context.common);
    let Some(explained) = answer(context, queue.explain(OrderId(args.order_id))).await? else {
        let (order, store) = (args.order_id, queue.facts.describe());
        eprintln!("error: order {order} is in no row and in no dead letter of {store}");
        let handler = output::command("dlq_handler", &context.common);
        eprintln!(
            "hint: were it a payment's id, its dead letters are listed by: {handler} list --payment {order}"
        );
        return Ok(Exit::No);
    };
    let text = match args.format {
        AnswerFormat::Table => render::timeline::text(&explained, &spell),
        AnswerFormat::Json => render::timeline::as_json(&explained, &spell),
    };
    output::to(args.out.as_deref(), &text)?;
    Ok(Exit::Done)
}

/// Runs `dlq_handler report`.
pub(crate) async fn report(context: &Context, args: &ReportArgs) -> Result<Exit, CliError> {
    let queue = open(context).await?;
    let progress = Progress::new();
    let since = args.since.map(|since| since.at(queue.clock.now_us()));
    let report = answer(context, queue.report(since, &|seen| progress.at(seen))).await?;
    progress.done();
    let spell = |command: &Command| output::spelt(command, &context.common);
    let text = match args.format {
        ReportFormat::Text => render::report_text::text(&report, &spell),
        ReportFormat::Json => render::report_json::as_json(&report, &spell),
        ReportFormat::Markdown => render::markdown::text(&report, &spell),
    };
    output::to(args.out.as_deref(), &text)?;
    Ok(if args.fail_on_open && report.open().dead_letters > 0 { Exit::No } else { Exit::Done })
}

/// Runs `dlq_handler history`.
pub(crate) async fn history(context: &Context, args: &HistoryArgs) -> Result<Exit, CliError> {
    let queue = open(context).await?;
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    let runs = answer(context, queue.runs(limit)).await?;
    let (store, now) = (queue.facts.describe(), queue.clock.now_us());
    let text = match args.format {
        Format::Table => render::history::text(&store, now, &runs),
        Format::Json => render::history::as_json(&store, now, &runs),
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(Vec::new());
            csv.write_record(render::history::HEADER).map_err(anyhow::Error::from)?;
            for run in &runs {
                csv.write_record(render::history::cells(run)).map_err(anyhow::Error::from)?;
            }
            let bytes = csv.into_inner().map_err(|error| CliError::failed(error.to_string()))?;
            eprintln!("{} runs, from {store}", output::count(runs.len() as u64));
            String::from_utf8_lossy(&bytes).into_owned()
        }
    };
    output::to(args.out.as_deref(), &text)?;
    Ok(Exit::Done)
}
