//! The desk's commands that only read: they open the store, ask the desk, and print its answer.

mod list;
mod progress;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::cli::{
    Answer, ExplainArgs, Format, HistoryArgs, LetterArgs, ReportArgs, ReportFormat, TriageArgs,
};
use super::context::Context;
use super::exit::{Exit, Stop};
use super::output;
use super::roles::{Gauges, policy};
use super::wiring::{self, Folder, Store};
use crate::render;
use ecom_dlq::next::Command;
use ecom_dlq::{Desk, triage::Triage};
use ecom_domain::order::OrderId;
use ecom_pipeline::window::START;
use ecom_store::StoreError;

pub(crate) use list::list;
pub(crate) use progress::Progress;

/// The shortest time between two looks of `triage --watch`.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);
/// Moves a terminal's cursor to the top and clears it.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// The desk on a store.
pub(crate) fn on(context: &Context, store: &Store) -> Desk {
    let gauges = Gauges::new("dlq_handler", &context.chance);
    Desk {
        facts: Arc::clone(&store.facts),
        ledger: Arc::clone(&store.ledger),
        journal: Arc::clone(&store.journal),
        retrying: gauges.retrying,
        clock: context.clock,
        chance: Arc::clone(&context.chance),
        actor: context.person(),
        window: START.min(context.config.consumer.max_in_flight),
    }
}

/// The desk of a command that only reads. Never creates a data folder.
async fn open(context: &Context) -> Result<Desk, Stop> {
    let store = wiring::store(context, Folder::MustExist).await?;
    Ok(on(context, &store))
}

/// An answer of the desk, unless a signal comes before it.
async fn answer<T>(context: &Context, asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, Stop> {
    tokio::select! {
        biased;
        () = context.stop.cancelled() => Err(Stop::failed("stopped before everything was read")),
        answer = asked => answer.map_err(Stop::from),
    }
}

/// Runs `dlq_handler triage`.
pub(crate) async fn triage(context: &Context, args: &TriageArgs) -> Result<Exit, Stop> {
    let desk = open(context).await?;
    let policy = policy(&context.config.dead_letters);
    let Some(interval) = args.watch else {
        let progress = Progress::new();
        let triage = answer(context, desk.triage(&policy, &|seen| progress.at(seen))).await?;
        progress.done();
        output::data(&rendered(context, &triage, args.format))?;
        return Ok(Exit::Done);
    };
    let clear = if std::io::stdout().is_terminal() { CLEAR } else { "" };
    loop {
        tokio::select! {
            biased;
            () = context.stop.cancelled() => return Ok(Exit::Done),
            triage = desk.triage(&policy, &|_| {}) => match triage {
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

fn rendered(context: &Context, triage: &Triage, format: Answer) -> String {
    let spell = |command: &Command| output::spelt(command, &context.common);
    match format {
        Answer::Table => render::triage::text(triage, &spell),
        Answer::Json => render::triage::as_json(triage, &spell),
    }
}

/// Runs `dlq_handler show`.
pub(crate) async fn show(context: &Context, args: &LetterArgs) -> Result<Exit, Stop> {
    let desk = open(context).await?;
    let spell = |command: &Command| output::spelt(command, &context.common);
    let Some(shown) = answer(context, desk.show(&args.id)).await? else {
        eprintln!("error: there is no letter {} in {}", args.id, desk.facts.describe());
        let list = output::spelt(&Command::list(&Default::default()), &context.common);
        eprintln!("hint: resolved letters are removed after their retention; to see what is there: {list}");
        return Ok(Exit::No);
    };
    if args.body {
        write(args.out.as_deref(), &shown.record.letter.body.bytes)?;
        if !shown.record.letter.body.is_whole() {
            eprintln!("this is the beginning of the body; the ledger does not keep more of one so large");
        }
        return Ok(Exit::Done);
    }
    let text = match args.format {
        Answer::Table => render::letter::text(&shown, &spell),
        Answer::Json => render::letter::as_json(&shown, &spell),
    };
    output::to(args.out.as_deref(), &text)?;
    Ok(Exit::Done)
}

/// Bytes to a file or stdout, nothing added.
fn write(file: Option<&Path>, bytes: &[u8]) -> Result<(), Stop> {
    let mut sink = output::sink(file)?;
    match sink.write_all(bytes).and_then(|()| sink.flush()).map_err(Stop::from) {
        Err(stop) if !stop.is_closed_pipe() => Err(stop),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Runs `dlq_handler explain`.
pub(crate) async fn explain(context: &Context, args: &ExplainArgs) -> Result<Exit, Stop> {
    let desk = open(context).await?;
    let spell = |command: &Command| output::spelt(command, &context.common);
    let Some(explained) = answer(context, desk.explain(OrderId(args.order_id))).await? else {
        let (order, store) = (args.order_id, desk.facts.describe());
        eprintln!("error: order {order} is in no row and in no letter of {store}");
        let handler = output::command("dlq_handler", &context.common);
        eprintln!(
            "hint: were it a payment's id, its letters are listed by: {handler} list --payment {order}"
        );
        return Ok(Exit::No);
    };
    let text = match args.format {
        Answer::Table => render::timeline::text(&explained, &spell),
        Answer::Json => render::timeline::as_json(&explained, &spell),
    };
    output::to(args.out.as_deref(), &text)?;
    Ok(Exit::Done)
}

/// Runs `dlq_handler report`.
pub(crate) async fn report(context: &Context, args: &ReportArgs) -> Result<Exit, Stop> {
    let desk = open(context).await?;
    let progress = Progress::new();
    let since = args.since.map(|since| since.at(desk.clock.now_us()));
    let report = answer(context, desk.report(since, &|seen| progress.at(seen))).await?;
    progress.done();
    let spell = |command: &Command| output::spelt(command, &context.common);
    let text = match args.format {
        ReportFormat::Text => render::report_text::text(&report, &spell),
        ReportFormat::Json => render::report_json::as_json(&report, &spell),
        ReportFormat::Markdown => render::markdown::text(&report, &spell),
    };
    output::to(args.out.as_deref(), &text)?;
    Ok(if args.fail_on_open && report.open().letters > 0 { Exit::No } else { Exit::Done })
}

/// Runs `dlq_handler history`.
pub(crate) async fn history(context: &Context, args: &HistoryArgs) -> Result<Exit, Stop> {
    let desk = open(context).await?;
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    let runs = answer(context, desk.runs(limit)).await?;
    let (store, now) = (desk.facts.describe(), desk.clock.now_us());
    let text = match args.format {
        Format::Table => render::runs::text(&store, now, &runs),
        Format::Json => render::runs::as_json(&store, now, &runs),
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(Vec::new());
            csv.write_record(render::runs::HEADER).map_err(anyhow::Error::from)?;
            for run in &runs {
                csv.write_record(render::runs::cells(run)).map_err(anyhow::Error::from)?;
            }
            let bytes = csv.into_inner().map_err(|error| Stop::failed(error.to_string()))?;
            eprintln!("{} runs, from {store}", output::count(runs.len() as u64));
            String::from_utf8_lossy(&bytes).into_owned()
        }
    };
    output::to(args.out.as_deref(), &text)?;
    Ok(Exit::Done)
}
