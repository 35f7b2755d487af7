//! Flags of the operator's commands that change dead letters.

use std::path::PathBuf;

use clap::Args;

use super::inspect::{AnswerFormat, SelectionArgs, dead_letter_id};
use ecom_config::Rate;
use ecom_dlq::selection::Selection;
use ecom_domain::bulk_operation::OperationId;
use ecom_domain::dead_letter::DeadLetterId;

/// A dead letter on the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum IdArgument {
    /// By its id.
    DeadLetter(DeadLetterId),
    /// By the lines of stdin.
    Stdin,
}

/// Which dead letters, by id or by filter.
#[derive(Clone, Debug, Args)]
pub(crate) struct BulkSelection {
    /// These dead letters; - reads ids from stdin, one a line.
    #[arg(value_name = "ID|-", value_parser = named, conflicts_with = "resume")]
    pub(crate) ids: Vec<IdArgument>,
    // Last: its heading is also that of every flag after it.
    #[command(flatten)]
    which: SelectionArgs,
}

impl BulkSelection {
    /// The selection these flags make of the ids.
    pub(crate) fn selection(&self, now: i64, ids: Vec<DeadLetterId>) -> Selection {
        self.which.selection(now, ids)
    }

    /// Whether neither a dead letter nor a filter was given.
    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty() && !self.has_filters()
    }

    /// Whether a filter was given.
    pub(crate) fn has_filters(&self) -> bool {
        self.which.selection(0, Vec::new()) != Selection::default()
    }
}

/// How a change is agreed to and told.
#[derive(Clone, Debug, Args)]
pub(crate) struct BulkOptions {
    /// Say what would happen, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask; needed where stdin is no terminal.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Go on with this run, which was stopped or killed.
    #[arg(long, value_name = "RUN_ID", value_parser = run_id, conflicts_with_all = ["dry_run", "note"])]
    pub(crate) resume: Option<OperationId>,
    /// How the answer is printed.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: AnswerFormat,
}

/// Which dead letters are tried, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct RetryArgs {
    /// All open dead letters.
    #[arg(long, conflicts_with_all = ["ids", "resume"])]
    pub(crate) all: bool,
    /// The first so many dead letters must end as predicted, or the run stops after them; 0 = none.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) canary: u64,
    /// At most so many dead letters a second; max = as fast as the store answers.
    #[arg(long, value_name = "RATE", default_value = "50/s", value_parser = rate)]
    pub(crate) rate: Rate,
    /// Why: kept with the run and in each dead letter's history.
    #[arg(long, value_name = "TEXT", value_parser = note)]
    pub(crate) note: Option<String>,
    #[command(flatten)]
    pub(crate) options: BulkOptions,
    #[command(flatten)]
    pub(crate) chosen: BulkSelection,
}

/// Which dead letters are closed, and why.
#[derive(Clone, Debug, Args)]
pub(crate) struct DiscardArgs {
    /// Why: kept with the run and in each dead letter's history.
    #[arg(long, value_name = "TEXT", value_parser = note, required_unless_present_any = ["resume", "dry_run"])]
    pub(crate) note: Option<String>,
    #[command(flatten)]
    pub(crate) options: BulkOptions,
    #[command(flatten)]
    pub(crate) chosen: BulkSelection,
}

/// Which dead letters are opened again.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReopenArgs {
    /// Why: kept with the run and in each dead letter's history.
    #[arg(long, value_name = "TEXT", value_parser = note)]
    pub(crate) note: Option<String>,
    #[command(flatten)]
    pub(crate) options: BulkOptions,
    #[command(flatten)]
    pub(crate) chosen: BulkSelection,
}

/// Which dead letter is corrected, and by what.
#[derive(Clone, Debug, Args)]
pub(crate) struct CorrectArgs {
    /// The dead letter.
    #[arg(value_name = "ID", value_parser = dead_letter_id)]
    pub(crate) id: DeadLetterId,
    /// The corrected body, byte for byte; - = stdin.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) with: PathBuf,
    /// Why: kept with the run and in the dead letter's history.
    #[arg(long, value_name = "TEXT", value_parser = note)]
    pub(crate) note: Option<String>,
    /// Show the difference and the verdict, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask; needed where stdin is no terminal.
    #[arg(long)]
    pub(crate) yes: bool,
    /// How the answer is printed.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: AnswerFormat,
}

fn named(text: &str) -> Result<IdArgument, String> {
    if text == "-" { Ok(IdArgument::Stdin) } else { dead_letter_id(text).map(IdArgument::DeadLetter) }
}

fn run_id(text: &str) -> Result<OperationId, String> {
    OperationId::parse(text).ok_or_else(|| {
        "is no run's id; one looks like 20260131T180000-0a1b2c3d, and `dlq_handler history` shows them"
            .to_owned()
    })
}

fn rate(text: &str) -> Result<Rate, String> {
    text.parse()
}

fn note(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("says nothing".to_owned()) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const ID: &str = "20240121-07-0123456789abcdef0123456789abcdef";
    const RUN: &str = "20240121T100130-ffffffff";

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
    fn what_is_chosen_is_read() {
        let Line::Retry(retry) = read(&["retry", ID, "-", "--order", "7"]).unwrap() else { panic!() };
        assert_eq!(
            retry.chosen.ids,
            [IdArgument::DeadLetter(DeadLetterId::parse(ID).unwrap()), IdArgument::Stdin]
        );
        assert!(retry.chosen.has_filters() && !retry.chosen.is_empty());
        assert_eq!((retry.canary, retry.rate.per_second()), (20, Some(50.0)));
        let Line::Retry(none) = read(&["retry"]).unwrap() else { panic!() };
        assert!(none.chosen.is_empty());
        let Line::Discard(on) = read(&["discard", "--resume", RUN]).unwrap() else { panic!() };
        assert_eq!(on.options.resume, OperationId::parse(RUN));
        assert!(read(&["discard", ID, "--dry-run"]).is_ok());
        assert!(read(&["reopen", ID]).is_ok());
        assert!(read(&["correct", ID, "--with", "-"]).is_ok());
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for words in [
            &["discard", ID][..],
            &["discard", ID, "--note", " "],
            &["retry", "--all", ID],
            &["retry", "--all", "--resume", RUN],
            &["retry", "--resume", RUN, ID],
            &["retry", "--resume", RUN, "--note", "x"],
            &["retry", "--resume", "yesterday"],
            &["retry", "--rate", "50"],
            &["correct", ID],
            &["correct", "-", "--with", "x"],
        ] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
