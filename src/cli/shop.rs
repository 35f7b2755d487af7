//! `api_service`, `payment_processor` and `notifier`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::consumer::ConsumerArgs;
use super::shared::OF_ROLES;
use super::{Common, Mode, Modes, given};
use ecom_config::Set;

const AFTER_API: &str = "\
Examples:
  api_service                                         embedded, in data/; open 127.0.0.1:8000/docs
  api_service key --role shop 2>> keys                make a key, for other buses, stores and hosts
  api_service -c config/local.toml --keys-file keys   emulator and Cassandra on this host

Exit codes: 0 drained, 1 failed or the shutdown grace period ran out, 2 bad usage or configuration, \
3 --check found something missing, 130 second signal";

const AFTER_PROCESSOR: &str = "\
Examples:
  payment_processor                                   embedded bus and store in the folder data/
  payment_processor --success-rate 1 --payment-delay 0s
  payment_processor -c config/local.toml              emulator and Cassandra on this host

Exit codes: 0 drained, 1 failed or the shutdown grace period ran out, 2 bad usage or configuration, \
3 --check found something missing, 130 second signal";

const AFTER_NOTIFIER: &str = "\
Examples:
  notifier                                            a file each, in data/mail
  notifier -c mail.toml                               as mail.toml says: channel, from, smtp.host
  notifier -c config/local.toml --folder mail         emulator and Cassandra on this host

Exit codes: 0 drained, 1 failed or the shutdown grace period ran out, 2 bad usage or configuration, \
3 --check found something missing, 130 second signal";

/// Serves the HTTP API of orders and payments.
///
/// Records what is asked for, exactly once in effect, and asks payment_processor to process it. The
/// API describes itself at /docs (Swagger UI) and /openapi.json.
#[derive(Debug, Parser)]
#[command(name = "api_service", version, after_help = AFTER_API)]
pub(crate) struct ApiService {
    #[command(subcommand)]
    pub(crate) command: Option<ApiCommand>,
    /// Address of the API (ECOM__SHOP__API__LISTEN).
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// File of API keys; without one, only this host is served, and only on embedded bus and store
    /// (ECOM__SHOP__API__KEYS_FILE).
    #[arg(long, value_name = "FILE")]
    keys_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum ApiCommand {
    /// Make an API key: prints the key, and its line for the keys file on stderr.
    Key(KeyArgs),
}

/// Arguments of `key`.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// What the key may do.
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: KeyRole,
    /// The customer whose orders and payments a customer's key is for.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) customer: Option<i64>,
    /// The name of the account; idempotency keys are unique within it. The role by default.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// The role of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum KeyRole {
    /// Everything.
    Shop,
    /// Reads everything.
    Reader,
    /// The orders and payments of one customer.
    Customer,
}

impl KeyRole {
    /// Returns the role as it is written.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Shop => "shop",
            Self::Reader => "reader",
            Self::Customer => "customer",
        }
    }
}

impl Modes for ApiService {
    fn modes(&self) -> Vec<Mode> {
        match self.command {
            None => Vec::new(),
            Some(ApiCommand::Key(_)) => vec![
                Mode { name: "with key: it is for serving", without_effect: OF_ROLES },
                Mode {
                    name: "with key: it is for serving",
                    without_effect: &["listen", "keys_file", "check"],
                },
            ],
        }
    }
}

impl ApiService {
    /// The settings of the flags that were given.
    pub(crate) fn sets(&self) -> Vec<Set> {
        let mut sets = given(&[("--listen", "shop.api.listen", self.listen.clone())]);
        let keys_file = self.keys_file.as_ref();
        sets.extend(keys_file.map(|file| Set::flag("--keys-file", "shop.api.keys_file", file.as_os_str())));
        sets
    }
}

/// Takes orders and payments of the API through their states.
///
/// Charges payments with a simulated gateway, and publishes an order event or a payment event at each
/// step. Any number may run at the same time, and each may be killed at any moment: the outcome of a
/// payment depends on the seed and its id alone.
#[derive(Debug, Parser)]
#[command(name = "payment_processor", version, after_help = AFTER_PROCESSOR)]
pub(crate) struct PaymentProcessor {
    #[command(flatten)]
    pub(crate) consumer: ConsumerArgs,
    /// Share of payments that are completed, 0.0 to 1.0 (ECOM__SHOP__PROCESSOR__SUCCESS_RATE).
    #[arg(long, value_name = "SHARE")]
    success_rate: Option<f64>,
    /// Time that a payment is in processing (ECOM__SHOP__PROCESSOR__PAYMENT_DELAY).
    #[arg(long, value_name = "DURATION")]
    payment_delay: Option<String>,
    /// Time from paid to completed (ECOM__SHOP__PROCESSOR__COMPLETION_DELAY).
    #[arg(long, value_name = "DURATION")]
    completion_delay: Option<String>,
    /// Seed of the outcomes of payments (ECOM__SHOP__PROCESSOR__SEED).
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl Modes for PaymentProcessor {}

impl PaymentProcessor {
    /// The settings of the flags that were given.
    pub(crate) fn sets(&self) -> Vec<Set> {
        let mut sets = self.consumer.sets();
        // A share is a decimal in configuration.
        let success_rate = self.success_rate.map(|share| format!("{share:?}"));
        sets.extend(given(&[
            ("--success-rate", "shop.processor.success_rate", success_rate),
            ("--payment-delay", "shop.processor.payment_delay", self.payment_delay.clone()),
            ("--completion-delay", "shop.processor.completion_delay", self.completion_delay.clone()),
            ("--seed", "shop.processor.seed", self.seed.map(|seed| seed.to_string())),
        ]));
        sets
    }
}

/// Confirms paid orders to their customers: into a folder, by e-mail or by a webhook.
///
/// Each confirmation is sent at least once, and under the same Message-ID or webhook-id if it is sent
/// twice. What the receiver does not take now is sent later; what it refuses for good is recorded with
/// its order as undeliverable. Any number may run at the same time.
#[derive(Debug, Parser)]
#[command(name = "notifier", version, after_help = AFTER_NOTIFIER)]
pub(crate) struct Notifier {
    #[command(flatten)]
    pub(crate) consumer: ConsumerArgs,
    /// Channel of confirmations (ECOM__SHOP__NOTIFIER__CHANNEL).
    #[arg(long, value_name = "CHANNEL", value_parser = ["folder", "smtp", "webhook"])]
    channel: Option<String>,
    /// Folder of mails (ECOM__SHOP__NOTIFIER__FOLDER).
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl Modes for Notifier {}

impl Notifier {
    /// The settings of the flags that were given.
    pub(crate) fn sets(&self) -> Vec<Set> {
        let mut sets = self.consumer.sets();
        sets.extend(given(&[("--channel", "shop.notifier.channel", self.channel.clone())]));
        let folder = self.folder.as_ref();
        sets.extend(folder.map(|folder| Set::flag("--folder", "shop.notifier.folder", folder.as_os_str())));
        sets
    }
}
