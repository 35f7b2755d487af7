//! The benchmark: the binaries beside the raw limits of the two services and beside peers, in one run.
//!
//! `cargo xtask bench` builds and starts `bench run`. Rounds are shuffled, every arm has a fresh topic,
//! subscription and table, load comes in a closed loop from one generator, and an arm with a wrong row or
//! dead letter is void. Ratios within a round are what counts: the host's speed cancels out of them.
//!
//! The other commands are the raw limits, each a process of its own while it is measured: written against the
//! clients alone, they share no code with the pipeline that is compared with them.
#![allow(clippy::disallowed_methods, reason = "it measures by the real clock and pauses no time")]

mod arm;
mod check;
mod facts;
mod latency;
mod launch;
mod messages;
mod minimal;
mod options;
mod peers;
mod published;
mod relay;
mod results;
mod run;
mod usage;

use anyhow::Result;
use arm::Kind;
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::runtime::Builder;

/// The benchmark and its raw limits; PUBSUB_EMULATOR_HOST and CASSANDRA_CONTACT_POINTS name the services.
#[derive(Debug, Parser)]
enum Command {
    /// Run the arms and print the results
    Run(options::Options),
    /// R0: publish N orders
    Publish { project: String, n: i64 },
    /// R1: pull N orders and ack them
    Pull { project: String, n: i64, streams: usize },
    /// R2: insert N orders
    Insert { keyspace: String, n: i64, window: usize },
    /// R3: select and update N payments
    Update { keyspace: String, n: i64, window: usize },
    /// The shortest loop over both clients
    Minimal { kind: Kind, project: String, keyspace: String, n: i64, streams: usize, window: usize },
    /// Take N messages of a topic's subscription; print requests they came in, bytes, and billed bytes
    Billed { project: String, topic: String, n: usize },
}

fn main() -> Result<ExitCode> {
    let command = Command::parse();
    let mut runtime = match &command {
        Command::Run(_) => Builder::new_multi_thread(),
        // As the binaries: one thread.
        _ => Builder::new_current_thread(),
    };
    runtime.enable_all().build()?.block_on(run(command))
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(options) => return run::all(&options).await,
        Command::Publish { project, n } => messages::publish(&project, n).await?,
        Command::Pull { project, n, streams } => messages::pull(&project, n, streams).await?,
        Command::Insert { keyspace, n, window } => write(&keyspace, Kind::Order, n, window).await?,
        Command::Update { keyspace, n, window } => write(&keyspace, Kind::Payment, n, window).await?,
        Command::Minimal { kind, project, keyspace, n, streams, window } => {
            minimal::consume(&project, &keyspace, kind, n, streams, window).await?;
        }
        Command::Billed { project, topic, n } => messages::billed(&project, &topic, n).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn write(keyspace: &str, kind: Kind, n: i64, window: usize) -> Result<()> {
    let progress = Progress::new(n);
    facts::write(keyspace, kind, 1..=n, window, || progress.add_one()).await
}

/// Counts events that are done, and prints `done TOTAL` every now and then.
struct Progress {
    done: AtomicI64,
    of: i64,
}

impl Progress {
    fn new(of: i64) -> Self {
        Self { done: AtomicI64::new(0), of }
    }

    fn add_one(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done == 1 || done % 200 == 0 || done == self.of {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "done {done}").and_then(|()| out.flush());
        }
    }
}
