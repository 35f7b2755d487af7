//! `dlq_handler`.

use clap::{Args, Parser, Subcommand};

use super::Common;
use super::bulk::{CorrectArgs, DiscardArgs, ReopenArgs, RetryArgs};
use super::consumer::ConsumerArgs;
use super::inspect::{DeadLetterArgs, ExplainArgs, HistoryArgs, ListArgs, ReportArgs, TriageArgs};
use ecom_config::Set;

const AFTER: &str = "\
Examples:
  dlq_handler                          take dead letters into the dead-letter store and retry what waits, for ever
  dlq_handler run --once               drain the topic, try everything that is open once, and end
  dlq_handler triage                   why dead letters are open, and what to run next
  dlq_handler list --state open        the newest open dead letters
  dlq_handler explain 42               everything about order 42
  dlq_handler retry --verdict applies_now
                                       try what would apply; the first 20 show whether it does
  dlq_handler report --fail-on-open    the dead-letter store in numbers; exit 3 while anything is open

Exit codes: 0 done or drained, 1 failed or the grace period ran out, 2 bad usage or config, 3 finished \
and the answer is no, 130 second signal";

/// Takes dead letters into the dead-letter store, retries what waits, and reports.
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

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Take dead letters into the dead-letter store and retry what waits (the default).
    Run(RunArgs),
    /// Why dead letters are open, what retrying each would do now, and what to run next.
    Triage(TriageArgs),
    /// Dead letters, newest first.
    List(ListArgs),
    /// One dead letter: body, attributes, history, verdict.
    Show(DeadLetterArgs),
    /// One timeline for an order: its row, every dead letter about it, every attempt.
    Explain(ExplainArgs),
    /// Try dead letters now; says first what will happen, and asks.
    Retry(RetryArgs),
    /// Publish a corrected body in a dead letter's place; shows first what changes, and asks.
    Correct(CorrectArgs),
    /// Close dead letters for good, with a note; asks.
    Discard(DiscardArgs),
    /// Undo a discard or a park; asks.
    Reopen(ReopenArgs),
    /// The dead-letter store in numbers: by state, reason and class, arrivals, recovery, roles.
    Report(ReportArgs),
    /// Who changed dead letters with the operator, when, which and why.
    History(HistoryArgs),
}

/// How the handler runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Drain the topic, make one pass over all that is open, and end.
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) consumer: ConsumerArgs,
}

impl DlqHandler {
    /// What the flags set.
    pub(crate) fn sets(&self) -> Vec<Set> {
        match &self.command {
            Some(DlqCommand::Run(run)) => run.consumer.sets(),
            None => self.run.consumer.sets(),
            Some(_) => Vec::new(),
        }
    }
}
