//! `dlq_handler`.

use clap::{Args, Parser, Subcommand};

use super::consumer::ConsumerArgs;
use super::{Common, Format};
use crate::config::Set;

const AFTER: &str = "\
Examples:
  dlq_handler                          take letters into the ledger and retry what waits, for ever
  dlq_handler run --once               drain the topic, try everything that is open once, and end
  dlq_handler report --fail-on-open    what is open and why; exit 3 while anything is

Exit codes: 0 done or drained, 1 failed or the grace period ran out, 2 bad usage or config, 3 finished \
and the answer is no, 130 second signal";

/// Takes dead letters into the ledger, retries what waits, and reports.
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
    /// Take letters into the ledger and retry what waits (the default).
    Run(RunArgs),
    /// Letters by state and reason, with counts and oldest age.
    Report(ReportArgs),
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

/// How letters are reported.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReportArgs {
    /// How the report is printed.
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    pub(crate) format: String,
    /// Write the report there instead of to stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<std::path::PathBuf>,
    /// Exit 3 while letters are open.
    #[arg(long)]
    pub(crate) fail_on_open: bool,
}

impl ReportArgs {
    /// How the report is printed.
    pub(crate) fn format(&self) -> Format {
        if self.format == "json" { Format::Json } else { Format::Table }
    }
}

impl DlqHandler {
    /// What the flags set.
    pub(crate) fn sets(&self) -> Vec<Set> {
        match &self.command {
            Some(DlqCommand::Run(run)) => run.consumer.sets(),
            Some(DlqCommand::Report(_)) => Vec::new(),
            None => self.run.consumer.sets(),
        }
    }
}
