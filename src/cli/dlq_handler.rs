//! `dlq_handler`.

use clap::{Args, Parser, Subcommand};

use super::bulk::{CorrectArgs, DiscardArgs, ReopenArgs, RetryArgs};
use super::consumer::ConsumerArgs;
use super::inspect::{DeadLetterArgs, ExplainArgs, HistoryArgs, ListArgs, ReportArgs, TriageArgs};
use super::modes::WITHOUT_CSV;
use super::shared::OF_ROLES;
use super::{Common, Format, Mode, Modes};
use ecom_config::Set;

const AFTER: &str = "\
Examples:
  dlq_handler                          run until stopped
  dlq_handler run --once               drain the topic, make one pass over dead letters, exit
  dlq_handler triage                   why dead letters are open, and what to run next
  dlq_handler list --state open        the newest open dead letters
  dlq_handler explain 42               the timeline of order 42
  dlq_handler retry --verdict applies_now
                                       retry those that apply now; stop if the first 20 do not
  dlq_handler report --fail-on-open    numbers; exit code 3 if any dead letters are open

Exit codes: 0 done or drained, 1 failed or the shutdown grace period ran out, 2 bad usage or configuration, \
3 negative result (not found, --check failed, dead letters open, not confirmed, canary stopped), 130 second signal";

/// Handles dead letters: stores them, retries those that wait, and lets you inspect and resolve them.
///
/// Without a subcommand it runs the role: it moves dead letters from their topic to the dead-letter
/// store and retries those that wait for their orders.
#[derive(Debug, Parser)]
#[command(name = "dlq_handler", version, after_help = AFTER, args_conflicts_with_subcommands = false)]
pub(crate) struct DlqHandler {
    #[command(subcommand)]
    pub(crate) command: Option<DlqCommand>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Store dead letters and retry those that wait (the default).
    Run(RunArgs),
    /// Show why dead letters are open, what a retry would do now, and what to run next.
    Triage(TriageArgs),
    /// List dead letters, newest first.
    List(ListArgs),
    /// Show one dead letter: body, attributes, history, verdict.
    Show(DeadLetterArgs),
    /// Show the timeline of an order: its row, its dead letters, their histories.
    Explain(ExplainArgs),
    /// Retry dead letters now; shows the plan and asks first.
    Retry(RetryArgs),
    /// Publish a corrected body in a dead letter's place; shows the difference and asks first.
    Correct(CorrectArgs),
    /// Close dead letters without applying them; requires a note; asks first.
    Discard(DiscardArgs),
    /// Reopen discarded or parked dead letters; asks first.
    Reopen(ReopenArgs),
    /// Show counts: dead letters by state and reason, arrivals, recovery, roles.
    Report(ReportArgs),
    /// List bulk operations: who changed which dead letters, when and why.
    History(HistoryArgs),
}

/// Arguments of `run`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Drain the topic, make one pass over all open dead letters, and exit.
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) consumer: ConsumerArgs,
}

impl Modes for DlqHandler {
    fn modes(&self) -> Vec<Mode> {
        let mut modes = Vec::new();
        if self.command.is_some() {
            modes.push(Mode {
                name: "before a subcommand: `run` takes it behind its name",
                without_effect: &["once", "streams", "max_in_flight", "count", "duration", "exit_on_idle"],
            });
        }
        if !matches!(self.command, None | Some(DlqCommand::Run(_))) {
            modes.push(Mode { name: "with this subcommand: it is for `run`", without_effect: OF_ROLES });
        }
        match &self.command {
            Some(DlqCommand::List(list)) if list.format != Format::Csv => {
                modes.push(Mode { name: WITHOUT_CSV, without_effect: &["list.spreadsheet_safe"] })
            }
            Some(DlqCommand::History(history)) if history.format != Format::Csv => {
                modes.push(Mode { name: WITHOUT_CSV, without_effect: &["history.spreadsheet_safe"] })
            }
            _ => {}
        }
        modes
    }
}

impl DlqHandler {
    /// The settings of the flags that were given.
    pub(crate) fn sets(&self) -> Vec<Set> {
        match &self.command {
            Some(DlqCommand::Run(run)) => run.consumer.sets(),
            None => self.run.consumer.sets(),
            Some(_) => Vec::new(),
        }
    }
}
