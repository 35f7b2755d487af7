//! `ecom_facts`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::{Common, Format};

const AFTER: &str = "\
Examples:
  ecom_facts show 42
  ecom_facts verify --manifest orders.json --manifest payments.json --wait 60s
  ecom_facts export --format csv --out facts.csv

Exit codes: 0 done, 1 failed, 2 bad usage or config, 3 show found nothing or verify found differences, \
130 second signal";

/// Shows, verifies and exports the fact table.
#[derive(Debug, Parser)]
#[command(name = "ecom_facts", version, after_help = AFTER)]
pub(crate) struct Facts {
    #[command(subcommand)]
    pub(crate) command: FactsCommand,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum FactsCommand {
    /// One row, with its write times.
    Show(ShowArgs),
    /// Check table and dead-letter store against what was published, to the unit.
    Verify(VerifyArgs),
    /// Every row.
    Export(ExportArgs),
}

/// Which row.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    /// The order.
    pub(crate) order_id: i64,
    /// How the row is printed.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
    /// Write there instead of to stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// What to check against.
#[derive(Clone, Debug, Args)]
pub(crate) struct VerifyArgs {
    /// What a producer wrote with --manifest; repeatable.
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) manifest: Vec<PathBuf>,
    /// Look again until nothing differs, at most this long, e.g. 60s.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) wait: Option<Duration>,
    /// How the result is printed.
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    pub(crate) format: String,
    /// Write there instead of to stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

impl VerifyArgs {
    /// How the result is printed.
    pub(crate) fn format(&self) -> Format {
        if self.format == "json" { Format::Json } else { Format::Table }
    }
}

/// Where the rows go.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExportArgs {
    /// How rows are written; json = one object per line.
    #[arg(long, value_name = "FORMAT", default_value = "csv")]
    pub(crate) format: Format,
    /// Write there instead of to stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}
