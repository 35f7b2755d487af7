//! The commands of `dlq_handler` that only read.

mod list;
mod progress;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::cli::{
    DeadLetterArgs, ExplainArgs, Format, HistoryArgs, OutputFormat, ReportArgs, ReportFormat, TriageArgs,
};
use super::context::Context;
use super::csv_record::{self, Formulas};
use super::exit::{CliError, Exit};
use super::output::{self, Reader};
use super::role_handle::RoleHandle;
use super::roles::policy;
use super::wiring::{self, DataFolder, Store};
use crate::render;
use crate::render::command::Command;
use crate::render::screen::Screen;
use crate::render::{json, next_step};
use ecom_dlq::identify::IdentifyError;
use ecom_dlq::next_action::NextAction;
use ecom_dlq::selection::Selection;
use ecom_dlq::{DeadLetterQueue, triage::Triage};
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterIdPrefix};
use ecom_domain::order::OrderId;
use ecom_domain::role::Role;
use ecom_store::StoreError;
use ecom_telemetry::stderr;

pub(crate) use list::list;
pub(crate) use progress::{Progress, style};

/// The shortest interval of `triage --watch`.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);
/// Moves the cursor of a terminal to the top and clears the screen.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// The most reads of the fact table at a time: each is a request of its own.
const READS: usize = 256;

/// The dead-letter queue on a store.
pub(crate) fn queue(context: &Context, store: &Store) -> DeadLetterQueue {
    let handle = RoleHandle::new(Role::DlqHandler, context);
    DeadLetterQueue {
        unreadable: Arc::clone(&context.unreadable),
        facts: Arc::clone(&store.facts),
        dead_letter_store: Arc::clone(&store.dead_letter_store),
        operations: Arc::clone(&store.operations),
        retrier: handle.retrier,
        clock: context.clock,
        entropy: Arc::clone(&context.entropy),
        actor: context.person(),
        window: READS.min(context.config.consumer.max_in_flight),
    }
}

/// The dead letters whose ids begin with these.
pub(crate) async fn identified(
    context: &Context,
    queue: &DeadLetterQueue,
    prefixes: &[DeadLetterIdPrefix],
) -> Result<Vec<DeadLetterId>, CliError> {
    let ids = unless_stopped(context, async { Ok(queue.identify(prefixes).await) });
    ids.await?.map_err(|error| match &error {
        IdentifyError::NotFound { .. } => CliError::not_found(error.to_string()).hint(list_all(context)),
        IdentifyError::Ambiguous { candidates, .. } => {
            let candidates: Vec<&str> = candidates.iter().map(DeadLetterId::as_str).collect();
            CliError::usage(error.to_string())
                .hint(format!("pass more of it:\n  {}", candidates.join("\n  ")))
        }
        IdentifyError::Store(_) => CliError::failed(error.to_string()),
    })
}

/// The dead letter whose id begins with this.
pub(crate) async fn identified_one(
    context: &Context,
    queue: &DeadLetterQueue,
    prefix: &DeadLetterIdPrefix,
) -> Result<DeadLetterId, CliError> {
    let mut ids = identified(context, queue, std::slice::from_ref(prefix)).await?;
    Ok(ids.remove(0))
}

/// The hint where a dead letter is not found.
fn list_all(context: &Context) -> String {
    let list = NextAction::List { selection: Selection::default() };
    let list = output::spelt(&Command::from(&list), &context.common);
    format!("resolved dead letters are removed after their retention period; list the rest: {list}")
}

/// Opens the store. Never creates a data folder.
pub(crate) async fn open(context: &Context) -> Result<DeadLetterQueue, CliError> {
    let store = wiring::unnamed_store(context, DataFolder::MustExist).await?;
    Ok(queue(context, &store))
}

/// Awaits a read; fails once the process is asked to stop.
async fn unless_stopped<T>(
    context: &Context,
    read: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, CliError> {
    tokio::select! {
        biased;
        () = context.stop.cancelled() => Err(CliError::failed("stopped before everything was read")),
        read = read => read.map_err(CliError::from),
    }
}

/// Runs `dlq_handler triage`.
pub(crate) async fn triage(context: &Context, args: &TriageArgs) -> Result<Exit, CliError> {
    let queue = open(context).await?;
    let policy = policy(&context.config.dead_letters);
    let Some(interval) = args.watch else {
        let progress = Progress::new();
        let triage = unless_stopped(context, queue.triage(&policy, &|seen| progress.at(seen))).await?;
        progress.done();
        output::data(&rendered(context, triage, args.format))?;
        return Ok(Exit::Done);
    };
    loop {
        tokio::select! {
            biased;
            () = context.stop.cancelled() => return Ok(Exit::Done),
            triage = queue.triage(&policy, &|_| {}) => match triage {
                Ok(triage) => {
                    let text = drawn(context, triage, args.format);
                    if output::data_to_reader(&text)? == Reader::Closed {
                        return Ok(Exit::Done);
                    }
                }
                Err(error) if error.is_outage() => stderr::say(format_args!("{error}; trying again")),
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

/// One screen of `--watch`. On a terminal it replaces the one before, and never scrolls.
fn drawn(context: &Context, triage: Triage, format: OutputFormat) -> String {
    match (output::terminal(), format) {
        (Some((columns, rows)), OutputFormat::Table) => {
            let spell = |command: &Command| output::spelt(command, &context.common);
            let screen = Screen::of_columns(columns);
            let text = render::triage::watched(&triage, &spell, screen, rows);
            format!("{CLEAR}{}", text.trim_end())
        }
        (Some(_), OutputFormat::Json) => format!("{CLEAR}{}\n", rendered(context, triage, format)),
        (None, _) => format!("{}\n", rendered(context, triage, format)),
    }
}

fn rendered(context: &Context, mut triage: Triage, format: OutputFormat) -> String {
    let spell = |command: &Command| output::spelt(command, &context.common);
    match format {
        OutputFormat::Table => render::triage::text(&triage, &spell, output::screen()),
        OutputFormat::Json => {
            next_step::fill_in(&mut triage.next, &spell);
            json(&triage)
        }
    }
}

/// Runs `dlq_handler show`.
pub(crate) async fn show(context: &Context, args: &DeadLetterArgs) -> Result<Exit, CliError> {
    let queue = open(context).await?;
    let spell = |command: &Command| output::spelt(command, &context.common);
    let id = identified_one(context, &queue, &args.id).await?;
    let Some(mut shown) = unless_stopped(context, queue.show(&id)).await? else {
        let (hint, store) = (list_all(context), queue.facts.describe());
        stderr::error(format_args!("there is no dead letter {id} in {store}"), Some(&hint));
        return Ok(Exit::NegativeResult);
    };
    if args.body {
        tracing::info!("using {}", queue.facts.describe());
        write(args.out.as_deref(), &shown.record.dead_letter.body.bytes)?;
        if !shown.record.dead_letter.body.is_whole() {
            stderr::say(
                "the body is truncated: the dead-letter store keeps only the beginning of a large body",
            );
        }
        return Ok(Exit::Done);
    }
    let text = match args.format {
        OutputFormat::Table => {
            render::dead_letter::text(&shown, &spell, output::screen_of(args.out.as_deref()))
        }
        OutputFormat::Json => {
            next_step::fill_in(&mut shown.next, &spell);
            json(&shown)
        }
    };
    output::to(args.out.as_deref(), &text)?;
    Ok(Exit::Done)
}

/// Writes bytes to a file or stdout, nothing added.
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
    let Some(mut timeline) = unless_stopped(context, queue.explain(OrderId(args.order_id))).await? else {
        let (order, store) = (args.order_id, queue.facts.describe());
        let handler = output::command("dlq_handler", &context.common);
        let hint =
            format!("if {order} is a payment id, list its dead letters: {handler} list --payment {order}");
        let error = format_args!("there is no row and no dead letter for order {order} in {store}");
        stderr::error(error, Some(&hint));
        return Ok(Exit::NegativeResult);
    };
    let text = match args.format {
        OutputFormat::Table => {
            render::timeline::text(&timeline, &spell, output::screen_of(args.out.as_deref()))
        }
        OutputFormat::Json => {
            for dead_letter in &mut timeline.dead_letters {
                next_step::fill_in(&mut dead_letter.next, &spell);
            }
            json(&timeline)
        }
    };
    output::to(args.out.as_deref(), &text)?;
    Ok(Exit::Done)
}

/// Runs `dlq_handler report`.
pub(crate) async fn report(context: &Context, args: &ReportArgs) -> Result<Exit, CliError> {
    let queue = open(context).await?;
    let progress = Progress::new();
    let since = args.since.map(|since| since.at(queue.clock.now_us()));
    let mut report = unless_stopped(context, queue.report(since, &|seen| progress.at(seen))).await?;
    progress.done();
    let spell = |command: &Command| output::spelt(command, &context.common);
    let text = match args.format {
        ReportFormat::Text => render::report::text(&report, &spell, output::screen_of(args.out.as_deref())),
        ReportFormat::Json => {
            next_step::fill_in(&mut report.next, &spell);
            json(&report)
        }
        ReportFormat::Csv => {
            let mut csv = Vec::new();
            csv_record::header(&mut csv, &render::report::DAYS_HEADER)?;
            for day in &report.days {
                csv_record::record(&mut csv, &render::report::DayRow::from(day), Formulas::Kept)?;
            }
            String::from_utf8_lossy(&csv).into_owned()
        }
        ReportFormat::Markdown => render::markdown::text(&report, &spell),
    };
    output::to(args.out.as_deref(), &text)?;
    Ok(if args.fail_on_open && report.open().dead_letters > 0 { Exit::NegativeResult } else { Exit::Done })
}

/// Runs `dlq_handler history`.
pub(crate) async fn history(context: &Context, args: &HistoryArgs) -> Result<Exit, CliError> {
    let formulas = Formulas::of(args.spreadsheet_safe);
    let queue = open(context).await?;
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    let history = unless_stopped(context, queue.history(limit)).await?;
    let text = match args.format {
        Format::Table => render::history::text(&history, output::screen_of(args.out.as_deref())),
        Format::Json => json(&history),
        Format::Csv => {
            let mut csv = Vec::new();
            csv_record::header(&mut csv, &render::history::HEADER)?;
            for operation in &history.operations {
                csv_record::record(&mut csv, &render::history::row(operation), formulas)?;
            }
            let count = render::counted(history.operations.len() as u64, "operation");
            stderr::say(format_args!("{count}, from {}", history.store));
            String::from_utf8_lossy(&csv).into_owned()
        }
    };
    output::to(args.out.as_deref(), &text)?;
    Ok(Exit::Done)
}
