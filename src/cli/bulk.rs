//! Arguments of the `dlq_handler` commands that change dead letters.

use std::path::PathBuf;

use clap::Args;

use super::inspect::{FilterArgs, OutputFormat, dead_letter_id};
use ecom_config::Rate;
use ecom_dlq::selection::Selection;
use ecom_domain::bulk_operation::OperationId;
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterIdPrefix};

/// A dead letter on the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum IdArgument {
    /// One dead letter, by as much of its id as is unique.
    DeadLetter(DeadLetterIdPrefix),
    /// The dead letters on the lines of stdin.
    Stdin,
}

/// The dead letters of a bulk operation, by id or by filters.
#[derive(Clone, Debug, Args)]
pub(crate) struct BulkSelection {
    /// Dead-letter IDs, or as much of each as is unique; - reads them from stdin, one per line.
    #[arg(value_name = "ID|-", value_parser = id_argument, conflicts_with = "resume")]
    pub(crate) ids: Vec<IdArgument>,
    // Last, since its heading applies to all flags after it.
    #[command(flatten)]
    filters: FilterArgs,
}

impl BulkSelection {
    /// The dead letters with these ids that pass the filters.
    pub(crate) fn selection(&self, now: i64, ids: Vec<DeadLetterId>) -> Selection {
        self.filters.selection(now, ids)
    }

    /// Returns whether neither ids nor filters were given.
    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty() && !self.has_filters()
    }

    /// Returns whether a filter was given.
    pub(crate) fn has_filters(&self) -> bool {
        self.filters.selection(0, Vec::new()) != Selection::default()
    }
}

/// Options that all bulk operations share.
#[derive(Clone, Debug, Args)]
pub(crate) struct BulkOptions {
    /// Show what would happen; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask for confirmation; required if stdin is not a terminal.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Resume this operation, which was stopped or killed.
    #[arg(long, value_name = "OPERATION_ID", value_parser = operation_id, conflicts_with_all = ["dry_run", "note"])]
    pub(crate) resume: Option<OperationId>,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: OutputFormat,
}

/// Arguments of `retry`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RetryArgs {
    /// Select all open dead letters.
    #[arg(long, conflicts_with_all = ["ids", "resume"])]
    pub(crate) all: bool,
    /// Stop after the first N dead letters unless all of them ended as predicted; 0 = no canary.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) canary: u64,
    /// Maximum number of dead letters per second; max = as fast as the store answers.
    #[arg(long, value_name = "RATE", default_value = "50/s", value_parser = rate)]
    pub(crate) rate: Rate,
    /// The reason, kept with the operation and in each dead letter's history.
    #[arg(long, value_name = "TEXT", value_parser = note)]
    pub(crate) note: Option<String>,
    #[command(flatten)]
    pub(crate) options: BulkOptions,
    #[command(flatten)]
    pub(crate) selection: BulkSelection,
}

/// Arguments of `discard`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DiscardArgs {
    /// The reason, kept with the operation and in each dead letter's history.
    #[arg(long, value_name = "TEXT", value_parser = note, required_unless_present_any = ["resume", "dry_run"])]
    pub(crate) note: Option<String>,
    #[command(flatten)]
    pub(crate) options: BulkOptions,
    #[command(flatten)]
    pub(crate) selection: BulkSelection,
}

/// Arguments of `reopen`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReopenArgs {
    /// The reason, kept with the operation and in each dead letter's history.
    #[arg(long, value_name = "TEXT", value_parser = note)]
    pub(crate) note: Option<String>,
    #[command(flatten)]
    pub(crate) options: BulkOptions,
    #[command(flatten)]
    pub(crate) selection: BulkSelection,
}

/// Arguments of `correct`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CorrectArgs {
    /// The ID of the dead letter, or as much of it as is unique.
    #[arg(value_name = "ID", value_parser = dead_letter_id)]
    pub(crate) id: DeadLetterIdPrefix,
    /// File with the corrected body, published byte for byte; - = stdin.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) with: PathBuf,
    /// The reason, kept with the operation and in the dead letter's history.
    #[arg(long, value_name = "TEXT", value_parser = note)]
    pub(crate) note: Option<String>,
    /// Show the difference and the verdict; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask for confirmation; required if stdin is not a terminal.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: OutputFormat,
}

fn id_argument(text: &str) -> Result<IdArgument, String> {
    if text == "-" { Ok(IdArgument::Stdin) } else { dead_letter_id(text).map(IdArgument::DeadLetter) }
}

fn operation_id(text: &str) -> Result<OperationId, String> {
    OperationId::parse(text).ok_or_else(|| {
        "invalid operation ID; expected yyyymmddThhmmss-<8 hex digits>, as `dlq_handler history` lists them"
            .to_owned()
    })
}

fn rate(text: &str) -> Result<Rate, String> {
    text.parse()
}

fn note(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.is_empty() || (text.starts_with('<') && text.ends_with('>')) {
        true => Err("the note says nothing: write the reason".to_owned()),
        false => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const ID: &str = "20240121-07-0123456789abcdef0123456789abcdef";
    const OPERATION: &str = "20240121T100130-ffffffff";

    #[derive(Debug, Parser)]
    enum Line {
        Retry(RetryArgs),
        Discard(DiscardArgs),
        Reopen(ReopenArgs),
        Correct(CorrectArgs),
    }

    fn read(words: &[&str]) -> Result<Line, clap::Error> {
        Line::try_parse_from(std::iter::once(&"x").chain(words))
    }

    #[test]
    fn selections_are_read() {
        let Line::Retry(retry) = read(&["retry", ID, "-", "--order", "7"]).unwrap() else { panic!() };
        assert_eq!(
            retry.selection.ids,
            [IdArgument::DeadLetter(DeadLetterIdPrefix::parse(ID).unwrap()), IdArgument::Stdin]
        );
        assert!(retry.selection.has_filters() && !retry.selection.is_empty());
        assert_eq!((retry.canary, retry.rate.per_second()), (20, Some(50.0)));
        let Line::Retry(none) = read(&["retry"]).unwrap() else { panic!() };
        assert!(none.selection.is_empty());
        let Line::Discard(on) = read(&["discard", "--resume", OPERATION]).unwrap() else { panic!() };
        assert_eq!(on.options.resume, OperationId::parse(OPERATION));
        assert!(read(&["discard", ID, "--dry-run"]).is_ok());
        assert!(read(&["reopen", ID]).is_ok());
        assert!(read(&["correct", ID, "--with", "-"]).is_ok());
    }

    #[test]
    fn conflicting_arguments_are_refused() {
        for words in [
            &["discard", ID][..],
            &["discard", ID, "--note", " "],
            &["retry", "--all", ID],
            &["retry", "--all", "--resume", OPERATION],
            &["retry", "--resume", OPERATION, ID],
            &["retry", "--resume", OPERATION, "--note", "x"],
            &["retry", "--resume", "yesterday"],
            &["retry", "--rate", "50"],
            &["correct", ID],
            &["correct", "-", "--with", "x"],
        ] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
