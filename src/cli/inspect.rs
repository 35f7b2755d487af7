//! Flags of the operator's commands: which dead letters, and how the answer is printed.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::Format;
use ecom_clock::micros;
use ecom_dlq::selection::Selection;
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterState};
use ecom_domain::order::OrderId;
use ecom_domain::reason::{Class, Reason};
use ecom_domain::verdict::Verdict;

/// The word for every state that is open.
const OPEN: &str = "open";

/// Which dead letters: all that pass every filter given.
#[derive(Clone, Default, Debug, Args)]
#[command(next_help_heading = "Which dead letters")]
pub(crate) struct SelectionArgs {
    /// In one of these states; open = waiting and parked.
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = states())]
    state: Vec<String>,
    /// With this reason.
    #[arg(long, value_name = "REASON", value_parser = word(Reason::ALL.map(Reason::as_str), Reason::parse))]
    reason: Option<Reason>,
    /// With a reason of this class.
    #[arg(long, value_name = "CLASS", value_parser = word(Class::ALL.map(Class::as_str), Class::parse))]
    class: Option<Class>,
    /// With this verdict now: what retrying it would do.
    #[arg(long, value_name = "VERDICT", value_parser = word(Verdict::ALL.map(Verdict::as_str), Verdict::parse))]
    verdict: Option<Verdict>,
    /// About this order.
    #[arg(long, value_name = "ORDER_ID")]
    order: Option<i64>,
    /// About this payment.
    #[arg(long, value_name = "PAYMENT_ID")]
    payment: Option<i64>,
    /// First failed at or after this time: RFC 3339, or a duration before now such as 2h.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Moment>,
    /// First failed before this time: RFC 3339, or a duration before now such as 10m.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Moment>,
}

impl SelectionArgs {
    /// These dead letters, as far as they pass the filters; no ids = every dead letter that does.
    pub(crate) fn selection(&self, now: i64, ids: Vec<DeadLetterId>) -> Selection {
        let mut states: Vec<DeadLetterState> = self.state.iter().flat_map(|word| named(word)).collect();
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

/// How an answer is printed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub(crate) enum AnswerFormat {
    /// For people.
    #[default]
    #[value(alias = "text")]
    Table,
    /// For programs.
    Json,
}

/// How the report is printed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people.
    #[default]
    #[value(alias = "table")]
    Text,
    /// For programs.
    Json,
    /// For tickets and chats.
    Markdown,
}

/// How dead letters are triaged.
#[derive(Clone, Debug, Args)]
pub(crate) struct TriageArgs {
    /// Look again and again, this long apart, until Ctrl-C, e.g. 10s.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) watch: Option<Duration>,
    /// How the answer is printed.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: AnswerFormat,
}

/// Which dead letters are listed, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct ListArgs {
    /// These dead letters; without any, all that pass the filters.
    #[arg(value_name = "ID", value_parser = dead_letter_id)]
    pub(crate) ids: Vec<DeadLetterId>,
    /// The newest this many; 0 = all, as they are stored, newest day first, and with their
    /// verdicts only where --verdict or --bodies is given.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
    /// With bodies, byte for byte; in base64 where they are not UTF-8.
    #[arg(long)]
    pub(crate) bodies: bool,
    /// How dead letters are printed.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
    /// Write there instead of to stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    // Last: its heading is also that of every flag after it.
    #[command(flatten)]
    pub(crate) which: SelectionArgs,
}

/// Which dead letter is shown, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeadLetterArgs {
    /// The dead letter.
    #[arg(value_name = "ID", value_parser = dead_letter_id)]
    pub(crate) id: DeadLetterId,
    /// The body alone, byte for byte as it is kept.
    #[arg(long, conflicts_with = "format")]
    pub(crate) body: bool,
    /// How the dead letter is printed.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: AnswerFormat,
    /// Write there instead of to stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Which order is explained, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The order.
    pub(crate) order_id: i64,
    /// How the answer is printed.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: AnswerFormat,
    /// Write there instead of to stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// How the dead-letter store is reported.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReportArgs {
    /// How the report is printed.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: ReportFormat,
    /// Write the report there instead of to stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Only dead letters that first failed since then: RFC 3339, or a duration before now such as 24h.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<Moment>,
    /// Exit 3 while dead letters are open.
    #[arg(long)]
    pub(crate) fail_on_open: bool,
}

/// Which runs are listed, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The newest this many; 0 = all.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
    /// How runs are printed.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
    /// Write there instead of to stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// A time on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    /// Microseconds since the epoch.
    At(i64),
    /// This long before the command runs.
    Ago(Duration),
}

impl Moment {
    /// Microseconds since the epoch.
    pub(crate) fn at(self, now: i64) -> i64 {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.saturating_sub(micros(ago)),
        }
    }
}

/// A time as a person writes it.
pub(crate) fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Ok(Moment::At(time.timestamp_micros()));
    }
    humantime::parse_duration(text)
        .map(Moment::Ago)
        .map_err(|_| "is neither RFC 3339 such as 2026-01-31T18:00:00Z nor a duration such as 2h".to_owned())
}

/// A dead letter's id as a person writes it.
pub(crate) fn dead_letter_id(text: &str) -> Result<DeadLetterId, String> {
    DeadLetterId::parse(text).ok_or_else(|| {
        "is no dead letter's id; one looks like 20260131-07-0123456789abcdef0123456789abcdef, and `dlq_handler list` \
         shows them"
            .to_owned()
    })
}

fn states() -> PossibleValuesParser {
    PossibleValuesParser::new(DeadLetterState::ALL.map(DeadLetterState::as_str).into_iter().chain([OPEN]))
}

fn named(word: &str) -> Vec<DeadLetterState> {
    match word {
        OPEN => DeadLetterState::ALL.into_iter().filter(|state| state.is_open()).collect(),
        _ => DeadLetterState::parse(word).into_iter().collect(),
    }
}

/// One word of a closed set.
fn word<const N: usize, T: Clone + Send + Sync + 'static>(
    words: [&'static str; N],
    parse: fn(&str) -> Option<T>,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words).map(move |word| parse(&word).expect("only the set's words get here"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const HOUR: i64 = 3_600_000_000;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        which: SelectionArgs,
        #[arg(value_parser = dead_letter_id)]
        ids: Vec<DeadLetterId>,
    }

    fn selection(words: &[&str]) -> Result<Selection, clap::Error> {
        let line = Line::try_parse_from(std::iter::once(&"x").chain(words))?;
        Ok(line.which.selection(10 * HOUR, line.ids))
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
        let words = read.words();
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
    fn what_is_no_word_of_a_filter_is_refused() {
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
