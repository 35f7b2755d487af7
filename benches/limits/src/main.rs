//! The raw limits of the two services, and what the benchmark needs besides: topics, load, checks.
//!
//! `cargo xtask bench` runs this program; by hand: `limits` without arguments prints the usage. It is
//! written against the clients alone and shares no code with the pipeline it is compared with.
#![allow(clippy::disallowed_methods, reason = "it measures by the real clock and pauses no time")]

mod bodies;
mod dead_letters;
mod facts;
mod latency;
mod ledger;
mod letters;
mod messages;
mod minimal;
mod slow;

use std::error::Error;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// What goes wrong here ends the program.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const USAGE: &str = "\
usage: limits COMMAND, with PUBSUB_EMULATOR_HOST and CASSANDRA_CONTACT_POINTS set
  topic PROJECT NAME                            create a topic and its subscription NAME-sub
  delete PROJECT NAME                           delete both
  schema KEYSPACE                               create the fact table
  fill KEYSPACE N MISSING                       write N orders, leaving out each MISSING-th (0 = none)
  feed PROJECT TOPIC KIND N                     publish what stdin permits: lines with a total
  feed PROJECT TOPIC letter N BEGAN             the same, dead letters; BEGAN: now, in microseconds
  check KEYSPACE KIND N MISSING                 count rows and compare every cell
  check-ledger KEYSPACE N BEGAN                 compare every letter, its history and its line in the index
  check-dead PROJECT TOPIC N MISSING            take the dead letters of each MISSING-th payment, compare them
  drop KEYSPACE
  billed PROJECT TOPIC N                        take N messages: requests they came in, bytes, billed bytes
  latency PROJECT TOPIC KEYSPACE KIND N RATE    publish at a fixed rate, print p50 and p99 to the visible row
  announced                                     the address at which Cassandra says it can be reached
  slow --listen HOST:PORT --to HOST:PORT --delay 50ms
                                                relay connections, each byte so much later, at any rate
 raw limits, each prints `done TOTAL` as it goes
  publish PROJECT TOPIC N                       R0
  pull PROJECT TOPIC N STREAMS                  R1
  insert KEYSPACE N WINDOW                      R2
  update KEYSPACE N WINDOW                      R3: SELECT + UPDATE
 the minimal loop over both
  orders PROJECT TOPIC KEYSPACE N STREAMS WINDOW
  payments PROJECT TOPIC KEYSPACE N STREAMS WINDOW";

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&words))
}

async fn run(words: &[&str]) -> Outcome<()> {
    match words {
        ["topic", project, name] => messages::create(project, name).await,
        ["delete", project, name] => messages::delete(project, name).await,
        ["schema", keyspace] => facts::schema(keyspace).await,
        ["drop", keyspace] => facts::drop_keyspace(keyspace).await,
        ["fill", keyspace, n, missing] => facts::fill(keyspace, n.parse()?, missing.parse()?).await,
        ["check", keyspace, kind, n, missing] => {
            facts::check(keyspace, bodies::Kind::parse(kind)?, n.parse()?, missing.parse()?).await
        }
        ["check-ledger", keyspace, n, began] => ledger::check(keyspace, n.parse()?, began.parse()?).await,
        ["check-dead", project, topic, n, missing] => {
            dead_letters::check(project, topic, n.parse()?, missing.parse()?).await
        }
        ["billed", project, topic, n] => messages::billed(project, topic, n.parse()?).await,
        ["feed", project, topic, "letter", n, began] => {
            let began = began.parse()?;
            messages::feed(project, topic, n.parse()?, |id| letters::message(id, began)).await
        }
        ["feed", project, topic, kind, n] => {
            let kind = bodies::Kind::parse(kind)?;
            messages::feed(project, topic, n.parse()?, |id| messages::message(kind, id)).await
        }
        ["announced"] => facts::announced().await,
        ["slow", "--listen", listen, "--to", to, "--delay", delay] => {
            slow::relay(listen, to, slow::delay(delay)?).await
        }
        ["latency", project, topic, keyspace, kind, n, rate] => {
            let kind = bodies::Kind::parse(kind)?;
            latency::measure(project, topic, keyspace, kind, n.parse()?, rate.parse()?).await
        }
        ["publish", project, topic, n] => messages::publish(project, topic, n.parse()?).await,
        ["pull", project, topic, n, streams] => {
            messages::pull(project, topic, n.parse()?, streams.parse()?).await
        }
        ["insert", keyspace, n, window] => facts::insert(keyspace, n.parse()?, window.parse()?).await,
        ["update", keyspace, n, window] => facts::update(keyspace, n.parse()?, window.parse()?).await,
        [kind @ ("orders" | "payments"), project, topic, keyspace, n, streams, window] => {
            let kind = if *kind == "orders" { bodies::Kind::Order } else { bodies::Kind::Payment };
            let shape = minimal::Shape { streams: streams.parse()?, window: window.parse()? };
            minimal::consume(project, topic, keyspace, kind, n.parse()?, shape).await
        }
        _ => Err(USAGE.into()),
    }
}

/// Counts what is done, and says so on stdout every now and then: `done TOTAL`.
pub struct Progress {
    done: AtomicU64,
    of: u64,
}

impl Progress {
    /// Of this many.
    pub fn new(of: u64) -> Self {
        Self { done: AtomicU64::new(0), of }
    }

    /// One more.
    pub fn one(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done == 1 || done.is_multiple_of(200) || done == self.of {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "done {done}").and_then(|()| out.flush());
        }
    }

    /// How many so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}
