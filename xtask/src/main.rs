//! Developer commands: `cargo xtask --help` lists them.
//!
//! Standard output carries data only, to `eval` or to pipe; messages go to standard error.
#![allow(
    clippy::disallowed_methods,
    reason = "xtask has no tokio runtime, so no paused time: it waits for real processes by the real clock"
)]

mod bench;
mod chaos;
mod ci;
mod guard;
mod nodes;
mod ops;
mod parts;
mod processes;
mod reliability;
mod services;
mod shop;
mod soak;
mod steps;
mod test;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode, Stdio};

const SOURCES: &str = "\
Services are taken from, in this order:
  1. PUBSUB_EMULATOR_HOST, CASSANDRA_CONTACT_POINTS, CASSANDRA_LOGIN_CONTACT_POINTS (with CASSANDRA_LOGIN_CA_FILE, _CERT_FILE and _KEY_FILE if that node encrypts and asks for client certificates): used as they are, never started or stopped
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
    Services {
        /// Keep state, logs and data in DIR (default: target/services); each folder is an independent pair
        #[arg(long, global = true)]
        dir: Option<PathBuf>,
        #[command(subcommand)]
        command: services::Command,
    },
    /// Start private services, run every test, and check each feature alone
    Test {
        /// Arguments of `cargo test`; the feature checks are then left out
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Measure the binaries beside the raw limits of both services and beside peers
    Bench(bench::Bench),
    /// Run the binaries on three Cassandra nodes under load: one killed, two killed, each restarted
    Nodes,
    /// Count instructions and heap blocks per event under valgrind, and compare them with their limits
    Micro,
    /// Run simulated schedules, crash points, seeded bugs and fuzzing: the figures of docs/reliability.md
    Reliability(reliability::Reliability),
    /// Kill, stop and freeze real processes under load, and compare the stores with what was published
    Chaos(chaos::Options),
    /// Run the shop's long tests on both backends: races for the last units, 1,000 users, Locust, schemathesis
    Shop,
    /// Check what is under deploy/ with the tools that it is for: image, manifests, alerts, dashboard, units
    Ops(ops::Options),
    /// Watch memory, file handles and threads of real processes under a steady load
    Soak(soak::Options),
    /// Run every check of a change: fmt, clippy, doc, deny, micro, all tests, each feature alone, the short checks of ops
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
    let current = std::env::current_dir().context("could not read the current folder")?;
    let root = current.ancestors().find(|folder| folder.join("xtask/Cargo.toml").is_file());
    let root = root.context("found no workspace here\nhint: run `cargo xtask` inside the repository")?;
    match command {
        Command::Services { dir, command } => services::run(root, dir, command),
        Command::Test { arguments } => test::run(root, &arguments, test::Scope::from_environment()),
        Command::Bench(options) => bench::run(root, &options),
        Command::Nodes => nodes::run(root),
        Command::Micro => Ok(u8::from(!ci::micro(root, test::Scope::from_environment())?)),
        Command::Reliability(options) => reliability::run(root, &options),
        Command::Chaos(options) => Ok(u8::from(!chaos::run(root, &options)?)),
        Command::Shop => shop::run(root),
        Command::Ops(options) => ops::run(root, &options, test::Scope::from_environment()),
        Command::Soak(options) => Ok(u8::from(!soak::run(root, &options)?)),
        Command::Ci => ci::run(root),
        Command::Guard { dir } => guard::watch(root, &dir),
    }
}

/// Returns a cargo command in the root, without input and without the variables that `cargo run` set for
/// xtask itself, which would make some build scripts run again.
fn cargo(root: &Path, words: &str, arguments: &[String]) -> process::Command {
    eprintln!("{}", format!("cargo {words} {}", arguments.join(" ")).trim_end());
    let mut command = process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words.split(' ')).args(arguments).current_dir(root).stdin(Stdio::null());
    let of_cargo = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_PRIMARY_PACKAGE"];
    processes::remove_variables(&mut command, &of_cargo);
    command
}

/// Returns the folder of downloads that the user's checkouts share.
fn cache() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache")));
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("ecom-pipeline"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        <super::Cli as clap::CommandFactory>::command().debug_assert();
    }
}
