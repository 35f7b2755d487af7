//! `ecom_facts`: show, verify, export.

mod export;
#[cfg(not(feature = "shop"))]
mod no_records;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "parquet")]
mod parts;
mod row;
mod show;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::cli::{Facts, FactsCommand, Format, VerifyArgs};
use super::context::Context;
use super::exit::{CliError, Exit};
use super::output;
use super::setup::{self, Rights};
#[cfg(feature = "shop")]
use super::shop::records::{Records, RecordsFound};
use super::wiring;
use crate::render::screen::Screen;
use crate::render::table::{Column, table};
use ecom_domain::dead_letter::EventKind;
use ecom_scenario::{
    DifferenceKind, EventContent, EventTimes, Manifest, StreamCounts, Units, Verification, verify,
};
use ecom_telemetry::stderr;
#[cfg(not(feature = "shop"))]
use no_records::{Records, RecordsFound};
use serde::Serialize;

/// The interval of `verify --wait`.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Runs `ecom_facts`.
pub(crate) async fn main(context: Context, cli: &Facts) -> Result<Exit, CliError> {
    if context.common.check {
        return setup::check(&context, Rights::Reader).await;
    }
    match &cli.command {
        FactsCommand::Show(args) => show::show(&context, args).await,
        FactsCommand::Verify(args) => verify_manifests(&context, args).await,
        FactsCommand::Export(args) => export::export(&context, args).await,
    }
}

async fn verify_manifests(context: &Context, args: &VerifyArgs) -> Result<Exit, CliError> {
    let mut manifests = Vec::new();
    for path in &args.manifest {
        manifests.push(Manifest::read(path).map_err(|error| CliError::usage(error.to_string()))?);
    }
    let store = wiring::unnamed_store(context, Records::folder(args.shop)).await?;
    let records = Records::of(context, &store, args.shop).await?;
    let units = async || -> Result<(Units, RecordsFound), CliError> {
        let (recorded, found) = records.read(context).await?;
        let units = Units::with_recorded(&manifests, EventContent::of, recorded)
            .map_err(|error| CliError::usage(error.to_string()))?
            .without_dead_letters_of(records.without_events(context));
        Ok(match &args.messages {
            Some(path) => (units.with_event_times(event_times(context, path)?), found),
            None => (units, found),
        })
    };
    let deadline = Instant::now() + args.wait.unwrap_or_default();
    let found = loop {
        let (units, records) = units().await?;
        let verified = verify(&units, store.facts.as_ref(), store.dead_letter_store.as_ref()).await;
        let is_last = Instant::now() >= deadline || context.stop.is_cancelled();
        match verified {
            Err(error) if error.is_outage() && !is_last => {
                stderr::say(format_args!("{error}; reading again"));
            }
            verified => {
                let found = Found { verification: verified?, records };
                if found.is_clean() || is_last {
                    break found;
                }
            }
        }
        tokio::select! {
            biased;
            () = context.stop.cancelled() => {}
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
    };
    let text = match args.format() {
        Format::Json => format!("{}\n", serde_json::to_string(&found)?),
        Format::Table | Format::Csv => {
            let screen = output::screen_of(args.out.as_deref());
            let (store, records) = (store.facts.describe(), found.records.text(screen));
            format!("{store}\n\n{}{records}", verification_text(&found.verification, screen))
        }
    };
    output::to(args.out.as_deref(), &text)?;
    if !found.is_clean() {
        let handler = output::command("dlq_handler", &context.common);
        stderr::say(format_args!(
            "next: check that all consumers run; to retry waiting dead letters now: {handler} run --once"
        ));
    }
    Ok(if found.is_clean() { Exit::Done } else { Exit::NegativeResult })
}

/// What a verification found.
#[derive(Serialize)]
struct Found {
    #[serde(flatten)]
    verification: Verification,
    #[serde(flatten)]
    records: RecordsFound,
}

impl Found {
    fn is_clean(&self) -> bool {
        self.verification.is_clean() && self.records.is_clean()
    }
}

/// Reads the event times of an archive of the topics.
fn event_times(context: &Context, archive: &Path) -> Result<EventTimes, CliError> {
    let topics = &context.config.bus.topics;
    let kind_of = |topic: &str| {
        let name = topic.rsplit('/').next().unwrap_or(topic);
        EventKind::ALL.into_iter().find(|kind| topics.of(*kind) == name)
    };
    let read = File::open(archive).and_then(|file| EventTimes::read(BufReader::new(file), kind_of));
    read.map_err(|error| CliError::usage(format!("could not read {}: {error}", archive.display())))
}

/// A verification as text: events by stream, dead letters by reason, differences.
pub(crate) fn verification_text(found: &Verification, screen: Screen) -> String {
    let stream = |name: &str, counts: &StreamCounts| {
        let mut cells = vec![name.to_owned()];
        let counts = [
            counts.published,
            counts.current,
            counts.superseded,
            counts.dead_letter_store,
            counts.lost,
            counts.duplicates,
        ];
        cells.extend(counts.map(output::count));
        <[String; 7]>::try_from(cells).unwrap_or_default()
    };
    let columns = [
        Column::left("stream"),
        Column::right("published"),
        Column::right("current").rank(2),
        Column::right("superseded").rank(3),
        Column::right("dead-letter store").rank(1),
        Column::right("lost"),
        Column::right("duplicate"),
    ];
    let mut text =
        table(screen, columns, [stream("orders", &found.orders), stream("payments", &found.payments)]);
    if !found.dead_letters.is_empty() {
        let dead_letters = found.dead_letters.iter().map(|((reason, state), count)| {
            [reason.as_str().to_owned(), state.as_str().to_owned(), output::count(*count)]
        });
        text.push('\n');
        let columns =
            [Column::left("dead letters by reason"), Column::right("state"), Column::right("dead letters")];
        text.push_str(&table(screen, columns, dead_letters));
    }
    text.push('\n');
    if found.is_clean() {
        text.push_str(&format!("✓ {} rows as published: 0 lost, 0 mixed\n", output::count(found.rows)));
        if let Some(not_kept) = found.faults.get(&DifferenceKind::SupersededNotKept) {
            let not_kept = output::count(*not_kept);
            text.push_str(&format!(
                "{not_kept} superseded payments are not in superseded_payments: two processes wrote at once\n"
            ));
        }
        return text;
    }
    for difference in &found.differences {
        text.push_str(&format!("{difference}\n"));
    }
    let kinds: Vec<String> = found
        .faults
        .iter()
        .map(|(fault, count)| format!("{} {}", output::count(*count), fault.as_str()))
        .collect();
    text.push_str(&format!(
        "✗ {} differences in {} rows: {}\n",
        output::count(found.difference_count()),
        output::count(found.rows),
        kinds.join(", ")
    ));
    text
}
