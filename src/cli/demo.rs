//! `ecom_demo`.

use clap::Parser;

use super::producer::MixtureArgs;
use super::{Common, Format, Mode, Modes, given};
use ecom_config::Set;

const AFTER: &str = "\
Examples:
  ecom_demo                                  10,000 orders, some late, missing or invalid
  ecom_demo --orders 1000 --missing-orders 0.2 --seed 7
  ecom_demo --format json > result.json
  ecom_demo --shop                           the API, payments and the pipeline; then open
                                             http://127.0.0.1:8000/docs

Exit codes: 0 all rows and dead letters are as generated, 1 failed, 2 bad usage or configuration, 3 something differs, \
130 second signal";

/// Runs all five roles in one process with embedded bus and store, and verifies every row.
///
/// Publishes orders and payments, with late and missing orders, duplicates, updates and invalid
/// messages; consumes, dead-letters and retries them; then compares the fact table and the
/// dead-letter store with what the seed generates. Each run first empties its own folder (the
/// subfolder demo of the data folder, or the one that --data-dir names) and keeps it afterwards.
#[derive(Debug, Parser)]
#[command(name = "ecom_demo", version, after_help = AFTER)]
pub(crate) struct Demo {
    /// Number of orders, each with its payment.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) orders: u32,
    /// Seed of the generated content.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Run the API, two payment processors and the pipeline instead, with users who order and pay; then serve the API
    /// until Ctrl-C (with --format json, exit).
    #[cfg(feature = "shop-embedded")]
    #[arg(long)]
    pub(crate) shop: bool,
    #[command(flatten)]
    mixture: MixtureArgs,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    pub(crate) format: String,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl Modes for Demo {
    fn modes(&self) -> Vec<Mode> {
        #[cfg(feature = "shop-embedded")]
        if self.shop {
            let without_effect = &[
                "orders",
                "seed",
                "late_orders",
                "missing_orders",
                "duplicates",
                "order_updates",
                "second_payments",
                "invalid",
                "late_by",
            ];
            return vec![Mode { name: "with --shop", without_effect }];
        }
        Vec::new()
    }
}

impl Demo {
    /// The settings of the flags that were given.
    pub(crate) fn sets(&self) -> Vec<Set> {
        let mut sets = self.mixture.sets();
        // The demo is embedded whatever is configured.
        sets.extend(["bus.kind", "store.kind"].map(|key| Set::flag("ecom_demo", key, "embedded")));
        sets.extend(given(&[("--seed", "producer.seed", self.seed.map(|seed| seed.to_string()))]));
        sets
    }

    /// The output format.
    pub(crate) fn format(&self) -> Format {
        if self.format == "json" { Format::Json } else { Format::Table }
    }
}
