//! `orders_producer` and `payments_producer`.

use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};

use super::{Common, Mode, Modes, given};
use ecom_config::Set;

const AFTER_ORDERS: &str = "\
Examples:
  orders_producer --order-ids 1-10000 --rate max            10,000 orders, as fast as possible
  orders_producer --preset reference --count 160            a fixed data set: orders 1-80, twice
  orders_producer --order-ids 1-500 --manifest orders.json  write a manifest for ecom_facts verify
  orders_producer --from monday.jsonl tuesday.jsonl         publish each line as a body
  generate | orders_producer --from -                       the same from stdin

Exit codes: 0 done, 1 failed, the shutdown grace period ran out, or --from was not read to its end, \
2 bad usage or configuration, 3 --check found something missing, or lines of --from were rejected, \
130 second signal";

const AFTER_PAYMENTS: &str = "\
Examples:
  payments_producer --order-ids 1-10000 --rate max   payments of 10,000 orders, as fast as possible
  payments_producer --preset reference               a fixed data set: payments of orders 1-500
  generate | payments_producer --from -              publish each line as a body

Exit codes: 0 done, 1 failed, the shutdown grace period ran out, or --from was not read to its end, \
2 bad usage or configuration, 3 --check found something missing, or lines of --from were rejected, \
130 second signal";

/// Publishes order events: generated from a seed, or the lines of a file.
///
/// The same seed generates the same orders on every machine; payments_producer with that seed
/// generates the matching payments.
#[derive(Debug, Parser)]
#[command(name = "orders_producer", version, after_help = AFTER_ORDERS)]
pub(crate) struct OrdersProducer {
    #[command(flatten)]
    pub(crate) producer: ProducerArgs,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Publishes payment events: generated from a seed, or the lines of a file.
#[derive(Debug, Parser)]
#[command(name = "payments_producer", version, after_help = AFTER_PAYMENTS)]
pub(crate) struct PaymentsProducer {
    #[command(flatten)]
    pub(crate) producer: ProducerArgs,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl Modes for OrdersProducer {
    fn modes(&self) -> Vec<Mode> {
        self.producer.modes()
    }
}

impl Modes for PaymentsProducer {
    fn modes(&self) -> Vec<Mode> {
        self.producer.modes()
    }
}

/// Fixed data sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Preset {
    /// A fixed data set: orders 1-80 repeatedly, payments of orders 1-500 once.
    Reference,
}

/// Arguments of producers.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProducerArgs {
    /// Messages per second, e.g. 500/s; max = as fast as possible (ECOM__PRODUCER__RATE).
    #[arg(long, value_name = "N/s|max")]
    rate: Option<String>,
    /// Exit after this many messages.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Range of order IDs, first and last.
    #[arg(long, value_name = "A-B", value_parser = order_ids, default_value = "1-1000000")]
    pub(crate) order_ids: (i64, i64),
    /// Start over after the last order ID, until --count or a signal.
    #[arg(long = "loop")]
    pub(crate) cycle: bool,
    /// Seed of the generated content (ECOM__PRODUCER__SEED).
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Publish a fixed data set instead of generated events.
    #[arg(long, conflicts_with_all = ["cycle", "from"])]
    pub(crate) preset: Option<Preset>,
    /// Publish each line of these files as a body, unchanged; - = stdin. Blank lines are skipped.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "cycle")]
    pub(crate) from: Vec<PathBuf>,
    /// Skip the first N lines of --from; a run that stopped early prints the N to continue with.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) skip: u64,
    /// Write a manifest of the published events to this file, for `ecom_facts verify`.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    #[command(flatten)]
    mixture: MixtureArgs,
}

/// Shares of special events, 0 to 1.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Generated events (shares from 0 to 1)")]
pub(crate) struct MixtureArgs {
    /// Orders published after their payment (ECOM__PRODUCER__LATE_ORDERS).
    #[arg(long, value_name = "SHARE")]
    late_orders: Option<f64>,
    /// Orders never published (ECOM__PRODUCER__MISSING_ORDERS).
    #[arg(long, value_name = "SHARE")]
    missing_orders: Option<f64>,
    /// Events published twice (ECOM__PRODUCER__DUPLICATES).
    #[arg(long, value_name = "SHARE")]
    duplicates: Option<f64>,
    /// Orders followed by a newer event of the same order (ECOM__PRODUCER__ORDER_UPDATES).
    #[arg(long, value_name = "SHARE")]
    order_updates: Option<f64>,
    /// Payments followed by a newer payment of the same order (ECOM__PRODUCER__SECOND_PAYMENTS).
    #[arg(long, value_name = "SHARE")]
    second_payments: Option<f64>,
    /// Invalid events (ECOM__PRODUCER__INVALID).
    #[arg(long, value_name = "SHARE")]
    invalid: Option<f64>,
    /// Delay of a late order, as a number of orders (ECOM__PRODUCER__LATE_BY).
    #[arg(long, value_name = "N")]
    late_by: Option<u64>,
}

/// The flags that shape the mixture of generated events.
const OF_MIXTURE: &[&str] = &[
    "late_orders",
    "missing_orders",
    "duplicates",
    "order_updates",
    "second_payments",
    "invalid",
    "late_by",
];

impl ProducerArgs {
    fn modes(&self) -> Vec<Mode> {
        let (name, others): (_, &[_]) = match (self.preset, self.from.is_empty()) {
            (_, false) => ("with --from", &["order_ids", "seed"]),
            (Some(Preset::Reference), true) => ("with --preset", &["order_ids", "skip"]),
            (None, true) => return vec![Mode { name: "without --from", without_effect: &["skip"] }],
        };
        [others, OF_MIXTURE].map(|without_effect| Mode { name, without_effect }).into()
    }

    /// The settings of the flags that were given.
    pub(crate) fn sets(&self) -> Vec<Set> {
        let mut sets = self.mixture.sets();
        sets.extend(given(&[
            ("--rate", "producer.rate", self.rate.clone()),
            ("--seed", "producer.seed", self.seed.map(|seed| seed.to_string())),
        ]));
        sets
    }
}

impl MixtureArgs {
    /// The settings of the flags that were given.
    pub(crate) fn sets(&self) -> Vec<Set> {
        // A share such as 1 is written 1.0, as the key's type wants it.
        let share = |share: Option<f64>| share.map(|share| format!("{share:?}"));
        given(&[
            ("--late-orders", "producer.late_orders", share(self.late_orders)),
            ("--missing-orders", "producer.missing_orders", share(self.missing_orders)),
            ("--duplicates", "producer.duplicates", share(self.duplicates)),
            ("--order-updates", "producer.order_updates", share(self.order_updates)),
            ("--second-payments", "producer.second_payments", share(self.second_payments)),
            ("--invalid", "producer.invalid", share(self.invalid)),
            ("--late-by", "producer.late_by", self.late_by.map(|by| by.to_string())),
        ])
    }
}

/// Reads `A-B`.
fn order_ids(text: &str) -> Result<(i64, i64), String> {
    let wanted = || format!("{text:?} is not of the form A-B with 1 <= A <= B");
    let (first, last) = text.split_once('-').ok_or_else(wanted)?;
    let (first, last) =
        (first.trim().parse().map_err(|_| wanted())?, last.trim().parse().map_err(|_| wanted())?);
    if 1 <= first && first <= last { Ok((first, last)) } else { Err(wanted()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_ids_are_a_range_of_positive_numbers() {
        assert_eq!(order_ids("1-80"), Ok((1, 80)));
        for bad in ["", "80", "0-5", "5-1", "a-b", "-1-5"] {
            assert!(order_ids(bad).is_err(), "{bad}");
        }
    }
}
