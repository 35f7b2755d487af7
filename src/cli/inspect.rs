//! Arguments of the `dlq_handler` commands that only read.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::Format;
use ecom_clock::micros;
use ecom_dlq::selection::Selection;
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterIdPrefix, DeadLetterState};
use ecom_domain::order::OrderId;
use ecom_domain::reason::{Class, Reason};
use ecom_domain::verdict::Verdict;

/// The name for all open states.
const OPEN: &str = "open";

/// Filters; a dead letter must pass all that are given.
#[derive(Clone, Default, Debug, Args)]
#[command(next_help_heading = "Filters (a dead letter must pass all)")]
pub(crate) struct FilterArgs {
    /// State; several separated by commas; open = waiting and parked.
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = states())]
    state: Vec<String>,
    /// Reason why it was dead-lettered.
    #[arg(long, value_name = "REASON", value_parser = word(Reason::ALL.map(Reason::as_str), Reason::parse))]
    reason: Option<Reason>,
    /// Class of the reason.
    #[arg(long, value_name = "CLASS", value_parser = word(Class::ALL.map(Class::as_str), Class::parse))]
    class: Option<Class>,
    /// Verdict: the predicted result of a retry now.
    #[arg(long, value_name = "VERDICT", value_parser = word(Verdict::ALL.map(Verdict::as_str), Verdict::parse))]
    verdict: Option<Verdict>,
    /// Order ID.
    #[arg(long, value_name = "ORDER_ID")]
    order: Option<i64>,
    /// Payment ID.
    #[arg(long, value_name = "PAYMENT_ID")]
    payment: Option<i64>,
    /// First failed at or after this time: RFC 3339, or a duration before now, e.g. 2h.
    #[arg(long, value_name = "TIME", value_parser = time_argument)]
    since: Option<TimeArgument>,
    /// First failed before this time: RFC 3339, or a duration before now, e.g. 10m.
    #[arg(long, value_name = "TIME", value_parser = time_argument)]
    until: Option<TimeArgument>,
}

impl FilterArgs {
    /// The dead letters with these ids that pass the filters; no ids = all dead letters that pass.
    pub(crate) fn selection(&self, now: i64, ids: Vec<DeadLetterId>) -> Selection {
        let mut states: Vec<DeadLetterState> = self.state.iter().flat_map(|word| states_of(word)).collect();
        states.sort_unstable();
        states.dedup();
        Selection {
            ids,
            states,
            reason: self.reason,
            class: self.class,
            verdict: self.verdict,
            order: self.order.map(OrderId),
            payment: self.payment,
            since: self.since.map(|since| since.at(now)),
            until: self.until.map(|until| until.at(now)),
        }
    }
}

/// The format of a result.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Text for people.
    #[default]
    #[value(alias = "text")]
    Table,
    /// JSON for programs.
    Json,
}

/// The format of a report.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub(crate) enum ReportFormat {
    /// Text for people.
    #[default]
    #[value(alias = "table")]
    Text,
    /// JSON for programs.
    Json,
    /// CSV for spreadsheets: the numbers by day and reason.
    Csv,
    /// Markdown for tickets and chats.
    Markdown,
}

/// Arguments of `triage`.
#[derive(Clone, Debug, Args)]
pub(crate) struct TriageArgs {
    /// Repeat at this interval until Ctrl-C, e.g. 10s.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) watch: Option<Duration>,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: OutputFormat,
}

/// Arguments of `list`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ListArgs {
    /// Dead-letter IDs, or as much of each as is unique; none = all dead letters that pass the filters.
    #[arg(value_name = "ID", value_parser = dead_letter_id)]
    pub(crate) ids: Vec<DeadLetterIdPrefix>,
    /// Number of dead letters to list, newest first. 0 = all; they are then sorted by day only, and verdicts
    /// are shown only with --verdict or --bodies.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
    /// Include bodies: as they are if UTF-8, otherwise in base64.
    #[arg(long)]
    pub(crate) bodies: bool,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
    /// Put an apostrophe in front of texts in CSV that a spreadsheet would take for a formula.
    #[arg(long)]
    pub(crate) spreadsheet_safe: bool,
    /// Write to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    // Last, since its heading applies to all flags after it.
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
}

/// Arguments of `show`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeadLetterArgs {
    /// The ID of the dead letter, or as much of it as is unique.
    #[arg(value_name = "ID", value_parser = dead_letter_id)]
    pub(crate) id: DeadLetterIdPrefix,
    /// Print only the body, byte for byte as stored.
    #[arg(long, conflicts_with = "format")]
    pub(crate) body: bool,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: OutputFormat,
    /// Write to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Arguments of `explain`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The order ID.
    pub(crate) order_id: i64,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: OutputFormat,
    /// Write to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Arguments of `report`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReportArgs {
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: ReportFormat,
    /// Write to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Count only dead letters that first failed at or after this time: RFC 3339, or a duration before now,
    /// e.g. 24h.
    #[arg(long, value_name = "TIME", value_parser = time_argument)]
    pub(crate) since: Option<TimeArgument>,
    /// Exit with code 3 if any dead letters are open.
    #[arg(long)]
    pub(crate) fail_on_open: bool,
}

/// Arguments of `history`.
#[derive(Clone, Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Number of operations to list, newest first; 0 = all.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
    /// Put an apostrophe in front of texts in CSV that a spreadsheet would take for a formula.
    #[arg(long)]
    pub(crate) spreadsheet_safe: bool,
    /// Write to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// A time on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimeArgument {
    /// Microseconds since the epoch.
    At(i64),
    /// This long before now.
    Ago(Duration),
}

impl TimeArgument {
    /// Microseconds since the epoch.
    pub(crate) fn at(self, now: i64) -> i64 {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.saturating_sub(micros(ago)),
        }
    }
}

/// Reads a time: RFC 3339, or a duration before now.
pub(crate) fn time_argument(text: &str) -> Result<TimeArgument, String> {
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Ok(TimeArgument::At(time.timestamp_micros()));
    }
    humantime::parse_duration(text).map(TimeArgument::Ago).map_err(|_| {
        "expected RFC 3339, e.g. 2026-01-31T18:00:00Z, or a duration before now, e.g. 2h".to_owned()
    })
}

/// Reads a dead-letter ID or the beginning of one.
pub(crate) fn dead_letter_id(text: &str) -> Result<DeadLetterIdPrefix, String> {
    DeadLetterIdPrefix::parse(text).ok_or_else(|| {
        "invalid dead-letter ID; expected yyyymmdd-bb-<32 hex digits>, or at least 4 of them, as `dlq_handler \
         list` shows them"
            .to_owned()
    })
}

fn states() -> PossibleValuesParser {
    PossibleValuesParser::new(DeadLetterState::ALL.map(DeadLetterState::as_str).into_iter().chain([OPEN]))
}

fn states_of(word: &str) -> Vec<DeadLetterState> {
    match word {
        OPEN => DeadLetterState::ALL.into_iter().filter(|state| state.is_open()).collect(),
        _ => DeadLetterState::parse(word).into_iter().collect(),
    }
}

/// Reads one word of a closed set.
fn word<const N: usize, T: Clone + Send + Sync + 'static>(
    words: [&'static str; N],
    parse: fn(&str) -> Option<T>,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words)
        .map(move |word| parse(&word).expect("clap passes only the words of the set"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::render::command::selection_words;

    const HOUR: i64 = 3_600_000_000;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        filters: FilterArgs,
        #[arg(value_parser = dead_letter_id)]
        ids: Vec<DeadLetterIdPrefix>,
    }

    fn selection(words: &[&str]) -> Result<Selection, clap::Error> {
        let line = Line::try_parse_from(std::iter::once(&"x").chain(words))?;
        let ids = line.ids.iter().map(|id| id.whole().unwrap().clone()).collect();
        Ok(line.filters.selection(10 * HOUR, ids))
    }

    #[test]
    fn a_selection_is_spelt_as_it_was_read() {
        let id = "20240121-07-0123456789abcdef0123456789abcdef";
        let spelt = [
            id,
            "--state",
            "waiting,discarded",
            "--reason",
            "invalid",
            "--class",
            "poison",
            "--verdict",
            "applies_now",
            "--order",
            "3",
            "--payment",
            "9",
            "--since",
            "1970-01-01T08:00:00.000000Z",
            "--until",
            "1970-01-01T09:30:00.000001Z",
        ];
        let read = selection(&spelt).unwrap();
        let words = selection_words(&read);
        assert_eq!(words, spelt);
        assert_eq!(selection(&words.iter().map(String::as_str).collect::<Vec<_>>()).unwrap(), read);
    }

    #[test]
    fn durations_are_before_now_and_open_is_two_states() {
        let read = selection(&["--since", "2h", "--until", "30m", "--state", "open"]).unwrap();
        assert_eq!((read.since, read.until), (Some(8 * HOUR), Some(19 * HOUR / 2)));
        assert_eq!(read.states, [DeadLetterState::Waiting, DeadLetterState::Parked]);
        assert_eq!(selection(&[]).unwrap(), Selection::default());
    }

    #[test]
    fn unknown_filter_values_are_refused() {
        for words in [
            ["--state", "closed"],
            ["--reason", "bad"],
            ["--class", "x"],
            ["--verdict", "orphan"],
            ["--since", "yesterday"],
            ["--order", "x"],
            ["--until", ""],
        ] {
            assert!(selection(&words).is_err(), "{words:?}");
        }
        assert!(selection(&["20240121-07-01"]).is_err());
    }
}
