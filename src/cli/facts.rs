//! `ecom_facts`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::modes::WITHOUT_CSV;
use super::shared::OF_ROLES;
use super::{Common, Format, Mode, Modes};

const AFTER: &str = "\
Examples:
  ecom_facts show 42
  ecom_facts verify --manifest orders.json --manifest payments.json --wait 60s
  ecom_facts verify --shop --wait 60s
  ecom_facts export --format csv --out facts.csv
  ecom_facts export --format parquet --out facts
  ecom_facts export --table superseded

Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 no such row, verify found differences, or --check found something missing, \
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

impl Modes for Facts {
    fn modes(&self) -> Vec<Mode> {
        let mut modes = vec![Mode { name: "in ecom_facts: it is for roles", without_effect: OF_ROLES }];
        match &self.command {
            FactsCommand::Show(show) if show.format != Format::Csv => {
                modes.push(Mode { name: WITHOUT_CSV, without_effect: &["show.spreadsheet_safe"] });
            }
            FactsCommand::Export(export) if export.format != ExportFormat::Csv => {
                modes.push(Mode { name: WITHOUT_CSV, without_effect: &["export.spreadsheet_safe"] });
            }
            _ => {}
        }
        modes
    }
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum FactsCommand {
    /// Show one row, with its write timestamps and the payments that lost against its payment.
    Show(ShowArgs),
    /// Verify that fact table and dead-letter store account for every published event.
    Verify(VerifyArgs),
    /// Export all rows.
    Export(ExportArgs),
}

/// Arguments of `show`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    /// The order ID.
    pub(crate) order_id: i64,
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

/// Arguments of `verify`.
#[derive(Clone, Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Manifest that a producer wrote with --manifest; repeatable.
    #[arg(long, value_name = "FILE", required_unless_present = "shop")]
    pub(crate) manifest: Vec<PathBuf>,
    /// Also verify that the records of orders and payments add up, and count their events as published.
    #[cfg_attr(not(feature = "shop"), arg(skip))]
    #[cfg_attr(feature = "shop", arg(long))]
    pub(crate) shop: bool,
    /// Archive of the published messages, one JSON object per line, each with `topic` and `message` as Pub/Sub
    /// writes it; the time of every row, superseded payment and dead letter is compared with it.
    #[arg(long, value_name = "FILE")]
    pub(crate) messages: Option<PathBuf>,
    /// Repeat until nothing differs, for at most this long, e.g. 60s.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) wait: Option<Duration>,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    pub(crate) format: String,
    /// Write to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

impl VerifyArgs {
    /// The output format.
    pub(crate) fn format(&self) -> Format {
        if self.format == "json" { Format::Json } else { Format::Table }
    }
}

/// The format of an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ExportFormat {
    /// CSV with a header.
    Csv,
    /// One JSON object per line.
    Json,
    /// Parquet files with types, in a folder; a run that was killed is continued by running it again.
    Parquet,
}

/// The table of an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ExportTable {
    /// The fact table.
    Facts,
    /// The superseded payments, each with the payment that it lost against.
    Superseded,
}

/// Arguments of `export`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExportArgs {
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "csv")]
    pub(crate) format: ExportFormat,
    /// The table to export.
    #[arg(long, value_name = "TABLE", default_value = "facts")]
    pub(crate) table: ExportTable,
    /// Put an apostrophe in front of texts in CSV that a spreadsheet would take for a formula.
    #[arg(long)]
    pub(crate) spreadsheet_safe: bool,
    /// Write to this file instead of stdout; with --format parquet to this folder, which is required then.
    #[arg(long, value_name = "PATH", required_if_eq("format", "parquet"))]
    pub(crate) out: Option<PathBuf>,
}
