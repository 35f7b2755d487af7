//! `order_consumer` and `payment_consumer`.

use std::time::Duration;

use clap::{Args, Parser};

use super::{Common, Modes, given};
use ecom_config::Set;
use ecom_pipeline::stop_conditions::StopConditions;

const AFTER_ORDERS: &str = "\
Examples:
  order_consumer                                      embedded bus and store in the folder data/
  order_consumer -c config/local.toml                 emulator and Cassandra on this host
  order_consumer --exit-on-idle 5s --summary s.json   drain the subscription, then exit

Exit codes: 0 drained, 1 failed or the shutdown grace period ran out, 2 bad usage or configuration, \
3 --check found something missing, 130 second signal";

const AFTER_PAYMENTS: &str = "\
Examples:
  payment_consumer                                    embedded bus and store in the folder data/
  payment_consumer -c config/local.toml               emulator and Cassandra on this host
  payment_consumer --order-grace 0s                   dead-letter payments without an order at once

Exit codes: 0 drained, 1 failed or the shutdown grace period ran out, 2 bad usage or configuration, \
3 --check found something missing, 130 second signal";

/// Records order events in the fact table.
///
/// Each order is written with its event time as write timestamp before its message is acknowledged,
/// so that duplicates, reordering and restarts do not change the result. Invalid messages go to the
/// dead-letter topic with a reason.
#[derive(Debug, Parser)]
#[command(name = "order_consumer", version, after_help = AFTER_ORDERS)]
pub(crate) struct OrderConsumer {
    #[command(flatten)]
    pub(crate) consumer: ConsumerArgs,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Joins payment events to their orders in the fact table.
///
/// A payment whose order is not recorded yet waits in the early-payment buffer (--order-grace), then
/// goes to the dead-letter topic; dlq_handler retries it.
#[derive(Debug, Parser)]
#[command(name = "payment_consumer", version, after_help = AFTER_PAYMENTS)]
pub(crate) struct PaymentConsumer {
    #[command(flatten)]
    pub(crate) consumer: ConsumerArgs,
    /// Time that a payment waits for its order before it is dead-lettered; 0s = no wait
    /// (ECOM__CONSUMER__ORDER_GRACE).
    #[arg(long, value_name = "DURATION")]
    order_grace: Option<String>,
    /// Maximum number of payments in the early-payment buffer (ECOM__CONSUMER__EARLY_PAYMENT_LIMIT).
    #[arg(long, value_name = "N")]
    early_payment_limit: Option<usize>,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl Modes for OrderConsumer {}

impl Modes for PaymentConsumer {}

impl PaymentConsumer {
    /// The settings of the flags that were given.
    pub(crate) fn sets(&self) -> Vec<Set> {
        let mut sets = self.consumer.sets();
        sets.extend(given(&[
            ("--order-grace", "consumer.order_grace", self.order_grace.clone()),
            (
                "--early-payment-limit",
                "consumer.early_payment_limit",
                self.early_payment_limit.map(|limit| limit.to_string()),
            ),
        ]));
        sets
    }
}

/// Arguments of consumers.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConsumerArgs {
    /// Concurrent StreamingPull streams; auto = opened as needed (ECOM__CONSUMER__STREAMS).
    #[arg(long, value_name = "N|auto")]
    streams: Option<String>,
    /// Maximum number of deliveries handled concurrently (ECOM__CONSUMER__MAX_IN_FLIGHT).
    #[arg(long, value_name = "N")]
    max_in_flight: Option<usize>,
    #[command(flatten)]
    pub(crate) bounds: BoundsArgs,
}

/// Arguments that end a run.
#[derive(Clone, Debug, Args)]
pub(crate) struct BoundsArgs {
    /// Exit after this many deliveries.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Exit after this long, e.g. 5m.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Exit after this long without a delivery, e.g. 5s.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) exit_on_idle: Option<Duration>,
}

impl ConsumerArgs {
    /// The settings of the flags that were given.
    pub(crate) fn sets(&self) -> Vec<Set> {
        given(&[
            ("--streams", "consumer.streams", self.streams.as_deref().map(streams)),
            ("--max-in-flight", "consumer.max_in_flight", self.max_in_flight.map(|n| n.to_string())),
        ])
    }
}

/// `auto` as the number that configuration uses for it.
fn streams(given: &str) -> String {
    if given == "auto" { "0".to_owned() } else { given.to_owned() }
}

impl BoundsArgs {
    /// The conditions that end the run.
    pub(crate) fn bounds(&self) -> StopConditions {
        StopConditions { count: self.count, duration: self.duration, idle: self.exit_on_idle }
    }
}
