//! `dlq_handler`: run, and report.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use serde::Serialize;

use super::cli::{DlqCommand, DlqHandler, Format, ReportArgs, RunArgs};
use super::context::Context;
use super::exit::{Exit, Stop};
use super::heartbeats;
use super::output;
use super::roles::{Gauges, Site, attended, close, summarise, supervise};
use super::setup;
use super::wiring::{self, Folder};
use crate::codec::envelope::rfc3339;
use crate::domain::letter::State;
use crate::domain::reason::Reason;
use crate::pipeline::retries::Offers;
use crate::pipeline::sweep::sweep;
use crate::store::{Ledger, Scan, StoreError};

/// How long the topic is silent before `--once` takes it as drained.
const DRAINED: std::time::Duration = std::time::Duration::from_secs(2);

/// Runs `dlq_handler`.
pub(crate) async fn main(context: Context, cli: &DlqHandler) -> Result<Exit, Stop> {
    if context.common.check {
        return setup::check(&context).await;
    }
    match &cli.command {
        Some(DlqCommand::Report(args)) => report(&context, args).await,
        Some(DlqCommand::Run(args)) => run(&context, args).await,
        None => run(&context, &cli.run).await,
    }
}

async fn run(context: &Context, args: &RunArgs) -> Result<Exit, Stop> {
    let mut bounds = args.consumer.bounds.bounds();
    if args.once {
        bounds.idle = Some(bounds.idle.unwrap_or(DRAINED));
    }
    let gauges = Gauges::new("dlq_handler", &context.chance);
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

/// Letters of one state and reason.
#[derive(Clone, Copy, Default, Debug)]
struct Group {
    count: u64,
    oldest: Option<i64>,
}

/// Letters by state and reason.
#[derive(Default, Debug)]
pub(crate) struct Report {
    groups: BTreeMap<(State, Reason), Group>,
}

#[derive(Serialize)]
struct Row {
    state: &'static str,
    reason: &'static str,
    class: &'static str,
    letters: u64,
    oldest_failed_at: Option<String>,
    oldest_age_seconds: Option<i64>,
}

impl Report {
    /// Reads every letter's state once.
    pub(crate) async fn read(ledger: &dyn Ledger) -> Result<Self, StoreError> {
        let mut report = Self::default();
        let mut letters = ledger.letters(Scan::BRIEF);
        while let Some(record) = letters.next().await {
            let record = record?;
            let group = report.groups.entry((record.state(), record.letter.reason)).or_default();
            group.count += 1;
            let failed = record.letter.first_failed_at;
            group.oldest = Some(group.oldest.map_or(failed, |oldest| oldest.min(failed)));
        }
        Ok(report)
    }

    /// Letters somebody or something still has to act on.
    pub(crate) fn open(&self) -> u64 {
        self.groups.iter().filter(|((state, _), _)| state.is_open()).map(|(_, group)| group.count).sum()
    }

    fn rows(&self, now: i64) -> Vec<Row> {
        let row = |(&(state, reason), group): (&(State, Reason), &Group)| Row {
            state: state.as_str(),
            reason: reason.as_str(),
            class: reason.class().as_str(),
            letters: group.count,
            oldest_failed_at: group.oldest.map(rfc3339),
            oldest_age_seconds: group.oldest.map(|oldest| now.saturating_sub(oldest).max(0) / 1_000_000),
        };
        self.groups.iter().map(row).collect()
    }

    /// The letters as a table for people.
    pub(crate) fn table(&self, now: i64) -> String {
        if self.groups.is_empty() {
            return "no dead letters\n".to_owned();
        }
        let rows = self.rows(now).into_iter().map(|row| {
            let age = u64::try_from(row.oldest_age_seconds.unwrap_or_default()).unwrap_or_default();
            let age = humantime::format_duration(std::time::Duration::from_secs(age)).to_string();
            [
                row.state.to_owned(),
                row.reason.to_owned(),
                row.class.to_owned(),
                output::count(row.letters),
                age,
            ]
        });
        output::table(["state", "reason", "class", "letters", "oldest"], rows)
    }
}

async fn report(context: &Context, args: &ReportArgs) -> Result<Exit, Stop> {
    let store = wiring::store(context, Folder::MustExist).await?;
    let report = Report::read(store.ledger.as_ref()).await?;
    let now = context.clock.now_us();
    let text = match args.format() {
        Format::Json => {
            let value = serde_json::json!({
                "store": store.facts.describe(),
                "at": rfc3339(now),
                "open": report.open(),
                "letters": report.rows(now),
            });
            format!("{value:#}\n")
        }
        Format::Table | Format::Csv => {
            format!("{}\n\n{}", store.facts.describe(), report.table(now))
        }
    };
    output::to(args.out.as_deref(), &text)?;
    Ok(if args.fail_on_open && report.open() > 0 { Exit::No } else { Exit::Done })
}
