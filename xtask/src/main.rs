//! Developer commands: `cargo xtask --help` lists them.
//!
//! Near std-only, so that it builds in seconds. What a command prints on stdout is data
//! (`eval` it, pipe it); everything it says to a person goes to stderr.
#![allow(
    clippy::disallowed_methods,
    reason = "xtask has no tokio runtime, so no paused time: it waits on real processes by the real clock"
)]

mod bench;
mod ci;
mod failure;
mod guard;
mod instructions;
mod process;
mod services;
mod test;
mod workspace;

use failure::{Failure, Outcome};
use std::process::ExitCode;

const HELP: &str = "\
Developer commands of this workspace.

Usage: cargo xtask COMMAND

Commands:
  services up      start a Pub/Sub emulator and a Cassandra node; print the two variables to export
  services down    end exactly what `up` started
  services status  say what runs where, and how to start what does not
  test [-- ARGS]   start private services, run every test, check each feature alone
  bench            measure the binaries beside the raw limits of both services and beside peers
  instructions     count the machine instructions an event costs; more than 5 % above the numbers
                   in benches/instructions.txt is a failure (needs valgrind)
  ci               fmt, clippy, doc, heap blocks and instructions an event, then `test` with no
                   service allowed to be missing

Options of `services up`:
  --env                  print nothing but the `export` lines on stdout, for
                         eval \"$(cargo xtask services up --env)\"
  --only NAME            emulator or cassandra
  --free-ports           take free ports, even when 8085 and 9042 are free
  --commitlog-sync MODE  periodic (default) or batch: a killed node keeps every acknowledged write
                         (environment: ECOM_CASSANDRA_COMMITLOG_SYNC)
Options of `services down`:
  --wipe                 remove Cassandra's data too
Option of all three:
  --dir DIR              keep state, logs and data there (default target/services); a second
                         folder is a second, independent pair

Options of `bench` (first build: about 15 minutes on 2 cores; a round: about 6):
  --quick          one round instead of five;  --rounds N
  --only ARM,...   of r0-publish r1-pull r2-insert r3-update minimal-orders minimal-payments orders
                   orders-again orders-slow payments payments-missing dlq-handler go-orders
                   go-payments python-orders python-payments
  --events N       events of an arm (60000);   --warm-up N (200000)
  --streams N      streams of every arm that receives (32 to pull alone, 8 of the loop and the peers, and
                   as many as our binaries open by themselves)
  --backlog N      events published and not yet done, at most (5000)
  --no-build       measure what was built before
  --out DIR        results, logs and services there (target/bench)

Option of `instructions`:
  --update         write the file instead

Where services come from, in this order:
  1. PUBSUB_EMULATOR_HOST, CASSANDRA_CONTACT_POINTS: used as they are, never started or stopped
  2. native: the gcloud SDK's emulator jar; Cassandra's jars through Maven, on JDK 17
  3. a Docker engine, with docker-compose-cassandra.yml

`test` passes ARGS to `cargo test` and then leaves the feature checks out:
  cargo xtask test -- late_order            tests with late_order in their names
  cargo xtask test -- -p xtask -- --nocapture
With REQUIRE_SERVICES=1 a service that cannot be had fails the run, and so does a missing valgrind.

Exit codes: 0 done; 1 failed; 2 bad usage; 3 `status` found something that does not run.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&words) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure::say(&failure.to_string());
            ExitCode::from(failure.code())
        }
    }
}

fn dispatch(words: &[&str]) -> Outcome<u8> {
    if words.is_empty() {
        failure::say(HELP.trim_end());
        return Ok(2);
    }
    let before_args = words.split(|word| *word == "--").next().unwrap_or_default();
    if before_args.iter().any(|word| matches!(*word, "--help" | "-h" | "help")) {
        failure::print(HELP.trim_end());
        return Ok(0);
    }
    match words {
        ["services", rest @ ..] => services::command(rest),
        ["test"] => test::run(&[], test::required_by_environment()),
        ["test", "--", rest @ ..] => test::run(rest, test::required_by_environment()),
        ["test", other, ..] => Err(Failure::usage(format!("unknown argument of test: {other}"))
            .hint("arguments for cargo test go behind `--`: cargo xtask test -- NAME")),
        ["bench", rest @ ..] => bench::command(rest),
        ["instructions", rest @ ..] => instructions::command(rest),
        ["ci"] => ci::run(),
        ["guard", dir] => guard::watch(dir.as_ref()),
        _ => Err(Failure::usage(format!("unknown command: {}", words.join(" ")))
            .hint("cargo xtask --help lists the commands")),
    }
}
