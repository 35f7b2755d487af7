//! `transaction_generator`: load on the API, and the proof that every request was recorded once.

mod metrics;
mod verification;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use self::metrics::run_with_metrics;
use crate::cli::{CreatesArg, Format, GeneratorCommand, LoadArgs, TransactionGenerator};
use crate::context::Context;
use crate::exit::{CliError, Exit};
use crate::output;
use crate::render::counted;
use crate::summary::write_summary;
use ecom_shop_load::client::ApiClient;
use ecom_shop_load::counts::{LoadCounts, LoadReport};
use ecom_shop_load::load::{Arrivals, Load, send};
use ecom_shop_load::manifest::{ManifestWriter, run_name};
use ecom_shop_load::requests::{Creates, RecordKind, TransactionMix};
use ecom_telemetry::stderr;

/// The name of the program.
const NAME: &str = "transaction_generator";
/// The time after the end of a load after which it is said what is waited for.
const OVERDUE_AFTER: Duration = Duration::from_secs(1);
/// The time between two summaries.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);

/// Runs `transaction_generator`.
pub(crate) async fn main(context: Context, cli: &TransactionGenerator) -> Result<Exit, CliError> {
    let client = client(&cli.api, cli.key_file.as_deref())?;
    if let Some(GeneratorCommand::Verify(args)) = &cli.command {
        return verification::verify(&context, &client, args, cli).await;
    }
    if context.common.check {
        return check(&client, cli).await;
    }
    let load = load(&context, &cli.load)?;
    let append = |path| ManifestWriter::append(path, &load.run, &cli.api, load.seed);
    let manifest = cli.load.manifest.as_deref().map(append).transpose();
    let manifest = manifest.map_err(|error| CliError::usage(error.to_string()))?;
    let counts = Arc::new(LoadCounts::default());
    let began = Instant::now();
    let report = || LoadReport::of(&load.run, &counts, load.arrivals.measured_from(), began.elapsed());
    let sending = async {
        tracing::info!("sending to {} as run {}", cli.api, load.run);
        let sending = send(&client, &load, manifest.as_ref(), &counts, &context.stop);
        tokio::select! {
            biased;
            sent = sending => sent.map_err(|error| CliError::failed(error.to_string())),
            never = summarise_again_and_again(&counts, &report) => match never {},
            never = say_what_is_waited_for(&context, load.duration, &report) => match never {},
        }
    };
    let sent = run_with_metrics(&context, &counts, sending).await;
    let report = report();
    stderr::say_with(format_args!("{NAME}: {report}"), "summary", serde_json::to_value(&report)?);
    write_summary(&context, &report)?;
    if cli.format() == Format::Json {
        output::data(&format!("{}\n", serde_json::to_string(&report)?))?;
    }
    sent?;
    if let Some(path) = &cli.load.manifest {
        say_what_verifies(&context, cli, path);
    }
    Ok(judge(&report, cli))
}

/// Returns a client of the API, with the key of a file.
fn client(api: &str, key_file: Option<&Path>) -> Result<ApiClient, CliError> {
    let key = key_file.map(read_key).transpose()?;
    ApiClient::try_new(api, key.as_deref()).map_err(|error| {
        let hint =
            "--api takes the address of api_service itself, which has no TLS; a key goes into --key-file";
        CliError::usage(error.to_string()).hint(hint)
    })
}

/// Reads an API key.
fn read_key(path: &Path) -> Result<String, CliError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        CliError::usage(format!("could not read the key file {}: {error}", path.display()))
    })?;
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(key), None) if key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(key.to_owned()),
        _ => Err(CliError::usage(format!("the key file {} does not have one API key alone", path.display()))
            .hint(
                "`api_service key` prints the key to stdout; its line for --keys-file, on stderr, is no key",
            )),
    }
}

/// Returns the load that the arguments ask for.
fn load(context: &Context, args: &LoadArgs) -> Result<Load, CliError> {
    if args.min_amount > args.max_amount {
        let (min, max) = (args.min_amount, args.max_amount);
        return Err(CliError::usage(format!("--min-amount {min} is above --max-amount {max}")));
    }
    let transactions = Creates::Transactions(TransactionMix {
        min_amount: args.min_amount,
        max_amount: args.max_amount,
        currencies: args.currencies.clone(),
    });
    Ok(Load {
        arrivals: match args.users {
            None => Arrivals::Interval(args.interval),
            Some(users) => Arrivals::Users { users, think: args.think.clone(), spawn_rate: args.spawn_rate },
        },
        creates: match args.creates {
            CreatesArg::Transactions => vec![transactions],
            CreatesArg::Orders => vec![Creates::Orders],
            CreatesArg::Both => vec![Creates::Orders, transactions],
        },
        count: args.count,
        duration: args.duration,
        grace: context.config.shutdown.grace_period,
        run: run_name(context.entropy.bytes()),
        seed: args.seed,
        send_twice: args.send_twice,
        cut: args.cut,
    })
}

/// Logs a summary again and again.
async fn summarise_again_and_again(counts: &LoadCounts, report: &impl Fn() -> LoadReport) -> Infallible {
    let mut ticks = interval_at(Instant::now() + SUMMARY_INTERVAL, SUMMARY_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tracing::info!("{}", report());
        counts.warn_again();
    }
}

/// Says what is waited for after a signal, or if it takes a while after the duration.
async fn say_what_is_waited_for(
    context: &Context,
    duration: Option<Duration>,
    report: &impl Fn() -> LoadReport,
) -> Infallible {
    let is_overdue = async {
        match duration {
            Some(duration) => sleep(duration + OVERDUE_AFTER).await,
            None => std::future::pending().await,
        }
    };
    let hint = tokio::select! {
        biased;
        () = context.stop.cancelled() => "; Ctrl-C again to stop now",
        () = is_overdue => "",
    };
    let report = report();
    let in_flight = report.requests.saturating_sub(report.recorded + report.all_failures());
    if in_flight > 0 {
        let grace = humantime::format_duration(context.config.shutdown.grace_period);
        stderr::say(format_args!("waiting for {}, up to {grace}{hint}", counted(in_flight, "answer")));
    }
    std::future::pending().await
}

/// Says which thresholds were missed.
fn judge(report: &LoadReport, cli: &TransactionGenerator) -> Exit {
    let mut missed = Vec::new();
    let max_failures = cli.load.max_failures;
    if report.all_failures() > max_failures {
        missed.push(format!(
            "{}, more than --max-failures {max_failures}",
            counted(report.all_failures(), "failure")
        ));
    }
    if let Some(max) = cli.load.max_p99
        && report.p99_seconds > max.as_secs_f64()
    {
        let (p99, max) = (report.p99_seconds * 1e3, humantime::format_duration(max));
        missed.push(format!(
            "the 99th percentile of the time to the answer is {p99:.1} ms, above --max-p99 {max}"
        ));
    }
    for failure in &report.failures {
        stderr::say(failure);
    }
    if let Some(reason) = report.repeated_because.as_ref().filter(|_| report.unanswered > 0) {
        stderr::say(format_args!(
            "{} had no answer; last attempt: {reason}",
            counted(report.unanswered, "request")
        ));
    }
    let hint = (report.recorded == 0)
        .then(|| format!("`{NAME} --check` looks whether the API is there and takes the key"));
    for missed in &missed {
        stderr::error(missed, hint.as_deref());
    }
    if missed.is_empty() { Exit::Done } else { Exit::NegativeResult }
}

fn say_what_verifies(context: &Context, cli: &TransactionGenerator, manifest: &Path) {
    let mut command = output::command(NAME, &context.common);
    command.push_str(&format!(
        " verify --manifest {} --api {}",
        output::quoted(manifest),
        output::quoted(&cli.api)
    ));
    if let Some(file) = &cli.key_file {
        command.push_str(&format!(" --key-file {}", output::quoted(file)));
    }
    stderr::say(format_args!("next: {command}"));
}

/// Looks whether the API is ready and takes the key.
async fn check(client: &ApiClient, cli: &TransactionGenerator) -> Result<Exit, CliError> {
    let list = format!("{}?page_size=1", RecordKind::Transaction.path());
    let mut problem = None;
    for path in ["/readyz", &list] {
        let found = match client.get(path).await {
            Ok(answer) if answer.status.is_success() => continue,
            Ok(answer) => {
                let way_out = match answer.status.as_u16() {
                    401 => "; it needs a key: --key-file FILE",
                    403 => "; the key is not of role shop",
                    _ => "",
                };
                format!("it answered GET {path} with {}{way_out}", answer.status)
            }
            Err(error) => format!("{error}; start api_service, or name its address with --api"),
        };
        problem.get_or_insert(found);
    }
    let api = &cli.api;
    let (text, exit) = match problem {
        None => (format!("✓ the API at {api} is ready\n"), Exit::Done),
        Some(problem) => (format!("✗ the API at {api}: {problem}\n"), Exit::NegativeResult),
    };
    output::data(&text)?;
    Ok(exit)
}
