//! `transaction_generator`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::shared::OF_ROLES;
use super::{Common, Format, Mode, Modes};

const AFTER: &str = "\
Examples:
  transaction_generator                                    one transaction a second, until Ctrl-C
  TRANSACTION_INTERVAL=0.1 transaction_generator --count 600
  transaction_generator --users 1000 --spawn-rate 10 --duration 2m --max-p99 250ms
  transaction_generator --users 50 --creates both --send-twice --cut 0.05 --manifest load.jsonl
  transaction_generator verify --manifest load.jsonl

Exit codes: 0 done and within --max-p99 and --max-failures, 1 failed, 2 bad usage or configuration, \
3 one of them was exceeded, verify found differences, or --check found that the API is not ready, 130 second signal";

/// Creates random transactions and orders over HTTP, and proves that each was recorded once.
///
/// Sends one request per --interval, or with --users what that many users send who wait for each answer. A
/// request is repeated with its idempotency key until it is answered, also while the API is restarted.
/// Needs the API alone, neither bus nor store.
#[derive(Debug, Parser)]
#[command(name = "transaction_generator", version, after_help = AFTER)]
pub(crate) struct TransactionGenerator {
    #[command(subcommand)]
    pub(crate) command: Option<GeneratorCommand>,
    /// URL of the API.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000", global = true)]
    pub(crate) api: String,
    /// File with the API key of role shop, as `api_service key` prints it; needed where the API asks for keys.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Output format; json also prints the summary of a load on stdout.
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"], global = true)]
    format: String,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// The most users: more connections than a host has ports for them are not possible.
const MAX_USERS: u64 = 50_000;

/// Arguments of the load.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Time between two requests, in seconds or e.g. 100ms, whether they are answered or not
    /// (TRANSACTION_INTERVAL).
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = interval,
        default_value = "1s",
        env = "TRANSACTION_INTERVAL",
        hide_env = true
    )]
    pub(crate) interval: Duration,
    /// Number of users; each sends a request, waits for the answer, thinks, and sends the next.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_USERS))]
    pub(crate) users: Option<u64>,
    /// Time that a user thinks, from the shortest to the longest; 0 = none.
    #[arg(long, value_name = "MIN..MAX", value_parser = range, default_value = "1s..3s")]
    pub(crate) think: RangeInclusive<Duration>,
    /// Users who begin per second; all at once by default.
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) spawn_rate: Option<f64>,
    /// What to create.
    #[arg(long, value_name = "WHAT", default_value = "transactions")]
    pub(crate) creates: CreatesArg,
    /// Smallest amount of a transaction, in whole units.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) min_amount: i64,
    /// Largest amount of a transaction, in whole units.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) max_amount: i64,
    /// Currencies of transactions.
    #[arg(
        long,
        value_name = "CODES",
        value_delimiter = ',',
        value_parser = currency,
        default_value = "USD,EUR,GBP,JPY"
    )]
    pub(crate) currencies: Vec<String>,
    /// Seed of the contents.
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(crate) seed: u64,
    /// End after this many requests, each with a key of its own.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// End after this long, e.g. 5m.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Send each request twice at the same time, with the same key.
    #[arg(long)]
    pub(crate) send_twice: bool,
    /// Share of requests whose answer is not waited for before they are sent again, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub(crate) cut: f64,
    /// Append every key to this file before it is sent, and the answered id afterwards, for `verify`.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Exit with 3 if the 99th percentile of the time to the answer is longer, e.g. 250ms. It counts from when
    /// the request was due (--interval) or sent (--users), and includes repetitions.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) max_p99: Option<Duration>,
    /// Exit with 3 if more requests are refused, or not answered at the end.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_failures: u64,
}

/// The arguments of the load; those of users, and those of transactions, apart.
const OF_LOAD: &[&str] = &[
    "interval",
    "users",
    "creates",
    "seed",
    "count",
    "duration",
    "send_twice",
    "cut",
    "manifest",
    "max_p99",
    "max_failures",
];
const OF_USERS: &[&str] = &["think", "spawn_rate"];
const OF_TRANSACTIONS: &[&str] = &["min_amount", "max_amount", "currencies"];

/// The kind of records to create.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum CreatesArg {
    /// Transactions without an order.
    Transactions,
    /// Orders that are paid at once.
    Orders,
    /// One or the other at random.
    Both,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum GeneratorCommand {
    /// Ask the API about every key of manifests, and prove that each was recorded once, as it was asked.
    ///
    /// Reads all pages of the API's lists, so that records which no key accounts for are found, too. A key that
    /// was not answered may be recorded or not. Run it when nothing is sent with these manifests any more.
    Verify(GeneratorVerifyArgs),
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(crate) struct GeneratorVerifyArgs {
    /// Manifests that were written with --manifest.
    #[arg(long = "manifest", value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) manifests: Vec<PathBuf>,
}

impl Modes for TransactionGenerator {
    fn modes(&self) -> Vec<Mode> {
        let mut modes = vec![Mode {
            name: "in transaction_generator: it uses neither bus nor store",
            without_effect: &["embedded", "data_dir", "project", "connect_timeout"],
        }];
        if self.command.is_some() {
            let groups = [OF_ROLES, &["check"], OF_LOAD, OF_USERS, OF_TRANSACTIONS];
            modes.extend(groups.map(|without_effect| Mode { name: "with verify", without_effect }));
            return modes;
        }
        modes.push(match self.load.users {
            None => Mode { name: "without --users", without_effect: OF_USERS },
            Some(_) => Mode { name: "with --users", without_effect: &["interval"] },
        });
        if self.load.creates == CreatesArg::Orders {
            modes.push(Mode { name: "with --creates orders", without_effect: OF_TRANSACTIONS });
        }
        modes
    }
}

impl TransactionGenerator {
    /// The output format.
    pub(crate) fn format(&self) -> Format {
        if self.format == "json" { Format::Json } else { Format::Table }
    }
}

/// Reads a duration: a number of seconds, or one with its units.
fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || format!("{text:?} is neither a number of seconds nor a duration such as 100ms");
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| wanted()),
        Err(_) => humantime::parse_duration(text).map_err(|_| wanted()),
    }
}

/// Reads a duration above 0. An error names the variable, too: only the flag is named beside it.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text).and_then(|interval| match interval.is_zero() {
        true => Err("it must be longer than 0".to_owned()),
        false => Ok(interval),
    });
    interval.map_err(|why| format!("{why} (--interval or TRANSACTION_INTERVAL)"))
}

/// Reads `MIN..MAX`, or one duration.
fn range(text: &str) -> Result<RangeInclusive<Duration>, String> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let (min, max) = (duration(min)?, duration(max)?);
    if min <= max { Ok(min..=max) } else { Err(format!("{text:?} is not of the form MIN..MAX")) }
}

/// Reads a number per second.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| format!("{text:?} is not a number above 0"))
}

/// Reads a share.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("{text:?} is not a number from 0 to 1"))
}

/// Reads a currency code.
fn currency(text: &str) -> Result<String, String> {
    let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_code { Ok(text.to_owned()) } else { Err(format!("{text:?} is not a currency code such as USD")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_have_units() {
        for (text, millis) in
            [("0.1", 100), ("1.0", 1_000), ("2", 2_000), ("100ms", 100), ("1m 30s", 90_000), ("0", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "-1", "nan", "inf", "soon", "1 parsec"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(interval("0").is_err() && interval("0ms").is_err() && interval("1ms").is_ok());
    }

    #[test]
    fn a_range_has_two_ends_or_one() {
        let seconds = Duration::from_secs;
        assert_eq!(range("1s..3s"), Ok(seconds(1)..=seconds(3)));
        assert_eq!(range("1..3"), Ok(seconds(1)..=seconds(3)));
        assert_eq!(range("0"), Ok(seconds(0)..=seconds(0)));
        for bad in ["3..1", "..", "1..", "1-3"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_rates_and_currencies_are_checked() {
        assert_eq!((share("0.05"), rate("10")), (Ok(0.05), Ok(10.0)));
        assert!(
            [share("1.1"), share("-0.1"), share("nan"), rate("0"), rate("inf")].iter().all(Result::is_err)
        );
        assert!(currency("USD").is_ok() && currency("usd").is_err() && currency("US").is_err());
    }

    #[test]
    fn every_argument_without_effect_exists() {
        use clap::CommandFactory;
        for words in
            [&["x"][..], &["x", "--users", "1", "--creates", "orders"], &["x", "verify", "--manifest", "m"]]
        {
            let command = TransactionGenerator::command();
            let parsed = TransactionGenerator::try_parse_from(words).unwrap();
            for id in parsed.modes().iter().flat_map(|mode| mode.without_effect) {
                assert!(
                    command.get_arguments().any(|argument| argument.get_id() == *id),
                    "there is no argument {id}"
                );
            }
        }
    }
}
