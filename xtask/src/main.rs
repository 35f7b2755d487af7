//! Developer commands: `cargo xtask --help` lists them.
//!
//! Standard output carries data only, to `eval` or to pipe; messages go to standard error.
#![allow(
    clippy::disallowed_methods,
    reason = "xtask has no tokio runtime, so no paused time: it waits for real processes by the real clock"
)]

mod bench;
mod ci;
mod guard;
mod services;
mod test;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

const SOURCES: &str = "\
Services are taken from, in this order:
  1. PUBSUB_EMULATOR_HOST, CASSANDRA_CONTACT_POINTS: used as they are, never started or stopped
  2. this host: the gcloud SDK's emulator jar; Cassandra's jars through Maven, on JDK 17
  3. a Docker engine, with docker-compose-cassandra.yml

With REQUIRE_SERVICES=1 a missing service or a missing valgrind fails the run.
Exit codes: 0 done; 1 failed; 2 bad usage; 3 `services status` found something that does not run.";

/// Developer commands of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = SOURCES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start, stop and show a Pub/Sub emulator and a Cassandra node
    #[command(subcommand)]
    Services(services::Command),
    /// Start private services, run every test, and check each feature alone
    Test {
        /// Arguments of `cargo test`; the feature checks are then left out
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Measure the binaries beside the raw limits of both services and beside peers
    Bench(bench::Bench),
    /// Count instructions and heap blocks per event under valgrind, and compare them with their limits
    Micro,
    /// Run every check of a change: fmt, clippy, doc, deny, micro, all tests, each feature alone
    Ci,
    /// End what a run started in DIR when standard input closes
    #[command(hide = true)]
    Guard { dir: PathBuf },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<u8> {
    let root = workspace::root()?;
    match command {
        Command::Services(command) => services::run(&root, command),
        Command::Test { arguments } => test::run(&root, &arguments, test::Scope::from_environment()),
        Command::Bench(options) => bench::run(&root, &options),
        Command::Micro => ci::micro(&root, test::Scope::from_environment()),
        Command::Ci => ci::run(&root),
        Command::Guard { dir } => guard::watch(&root, &dir),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        <super::Cli as clap::CommandFactory>::command().debug_assert();
    }
}
