//! `ecom_demo`.

use clap::Parser;

use super::producer::MixtureArgs;
use super::{Common, Format, given};
use ecom_config::Set;

const AFTER: &str = "\
Examples:
  ecom_demo                                  10,000 orders with everything that goes wrong
  ecom_demo --orders 1000 --missing-orders 0.2 --seed 7
  ecom_demo --format json > result.json

Exit codes: 0 every row is as the seed says, 1 failed, 2 bad usage or config, 3 some row is not, \
130 second signal";

/// Runs all five roles in one process on the embedded default, and verifies every row.
///
/// Publishes orders and payments with late and missing orders, duplicates, updates and broken
/// messages, consumes, dead-letters and retries them, and ends by checking the whole table and
/// dead-letter store against what the seed says they must be. The folder is started afresh each time and
/// kept.
#[derive(Debug, Parser)]
#[command(name = "ecom_demo", version, after_help = AFTER)]
pub(crate) struct Demo {
    /// Orders, each with its payment.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) orders: u32,
    /// Seed of every record's content.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    mixture: MixtureArgs,
    /// How the result is printed on stdout.
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    pub(crate) format: String,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl Demo {
    /// What the flags set.
    pub(crate) fn sets(&self) -> Vec<Set> {
        let mut sets = self.mixture.sets();
        // It is embedded whatever else is configured.
        sets.extend(["bus.kind", "store.kind"].map(|key| Set::flag("ecom_demo", key, "embedded")));
        sets.extend(given(&[("--seed", "producer.seed", self.seed.map(|seed| seed.to_string()))]));
        sets
    }

    /// How the result is printed.
    pub(crate) fn format(&self) -> Format {
        if self.format == "json" { Format::Json } else { Format::Table }
    }
}
