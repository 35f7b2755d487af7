//! The benchmark: the binaries beside the raw limits of the two services and beside peers, in one run.
//!
//! `cargo xtask bench` builds and starts `bench run`. Ratios within a round are what counts: the host's speed
//! cancels out of them. The other commands are the raw limits, each a process of its own while it is measured:
//! written against the clients alone, they share no code with the pipeline that is compared with them.
#![allow(clippy::disallowed_methods, reason = "it measures by the real clock and pauses no time")]

mod api;
mod api_servers;
mod arm;
mod check;
mod embedded;
mod facts;
mod launch;
mod messages;
mod options;
mod peers;
mod published;
mod relay;
mod results;
mod run;
mod usage;

use anyhow::Result;
use clap::Parser;
use options::Arm;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::{io::Write, path::PathBuf, process::ExitCode};
use tokio::runtime::Builder;

/// The benchmark and its raw limits; PUBSUB_EMULATOR_HOST and CASSANDRA_CONTACT_POINTS name the services.
#[derive(Debug, Parser)]
enum Command {
    /// Run the arms and print the results
    Run(options::Options),
    /// Be the program of a raw limit or of the shortest loop, for N events
    Limit { arm: Arm, project: String, keyspace: String, n: i64, streams: usize },
    /// Be the raw limit of the embedded default, in FOLDER, for N orders and their payments
    SqliteRaw { folder: PathBuf, n: i64 },
    /// Take N messages of a topic's subscription; print requests they came in, bytes, and billed bytes
    Billed { project: String, topic: String, n: usize },
}

fn main() -> Result<ExitCode> {
    let command = Command::parse();
    // As the binaries: one thread, except to run all.
    let all = matches!(command, Command::Run(_));
    let mut runtime = if all { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    runtime.enable_all().build()?.block_on(async {
        match command {
            Command::Run(options) if options.api => return api::all(&options).await,
            Command::Run(options) => return run::all(&options).await,
            Command::Limit { arm, project, keyspace, n, streams } => match arm {
                Arm::R0Publish => messages::publish(&project, n).await?,
                Arm::R1Pull => messages::pull(&project, n, streams).await?,
                Arm::R2Insert | Arm::R3Update => {
                    facts::write(&keyspace, arm.kind(), 1..=n, || count(n)).await?
                }
                Arm::R2Grouped | Arm::R3Grouped => {
                    facts::write_grouped(&keyspace, arm.kind(), 1..=n, || count(n)).await?
                }
                _ => messages::consume(&project, &keyspace, arm.kind(), n, streams).await?,
            },
            Command::SqliteRaw { folder, n } => embedded::raw(&folder, n)?,
            Command::Billed { project, topic, n } => messages::billed(&project, &topic, n).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Counts an event of `n` that is done, and prints `done TOTAL` every now and then.
fn count(n: i64) {
    static DONE: AtomicI64 = AtomicI64::new(0);
    let done = DONE.fetch_add(1, Relaxed) + 1;
    if done == 1 || done % 200 == 0 || done == n {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "done {done}").and_then(|()| out.flush());
    }
}
