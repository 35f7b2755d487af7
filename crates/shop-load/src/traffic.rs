//! Traffic in a closed loop that keeps the id of every key: a [`Load`] of a known size.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::ApiClient;
use super::counts::LoadCounts;
use super::keys::KeyLog;
use super::load::{self, Arrivals, Load};
use ecom_telemetry::quantiles::Quantiles;

pub use super::requests::Creates;

/// Traffic to send.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// What is created.
    pub creates: Creates,
    /// The number of users.
    pub users: u64,
    /// The number of records to create, by all users together; `None` = until stopped.
    pub count: Option<u64>,
    /// The prefix of the idempotency keys, which no earlier traffic had.
    pub run: String,
    /// The seed of the contents.
    pub seed: u64,
    /// Send each request twice at once.
    pub send_twice: bool,
    /// The share of requests whose answer is not waited for before the request is repeated.
    pub cut: f64,
    /// The pause of a user between two requests.
    pub think: Duration,
}

/// What became of the traffic.
#[derive(Debug, Default)]
pub struct TrafficReport {
    /// Each idempotency key with the id that it was recorded under.
    pub recorded: BTreeMap<String, i64>,
    /// Requests sent, repetitions included.
    pub sent: u64,
    /// Answers that said that the request had been recorded before.
    pub replayed: u64,
    /// Requests that were repeated because there was no answer, or one that asks for it.
    pub repeated: u64,
    /// The first faults of answers: another id for the same key, or a refusal.
    pub faults: Vec<String>,
    /// The time from a request to its answer, repetitions included.
    pub took: Quantiles,
    /// The time that the traffic took.
    pub elapsed: Duration,
}

/// Sends traffic, until everything is answered or it is stopped.
pub async fn send(client: &ApiClient, traffic: &Traffic, stop: &CancellationToken) -> TrafficReport {
    let began = Instant::now();
    let load = Load {
        arrivals: Arrivals::Users {
            users: traffic.users,
            think: traffic.think..=traffic.think,
            spawn_rate: None,
        },
        creates: vec![traffic.creates.clone()],
        count: traffic.count,
        duration: None,
        grace: Duration::ZERO,
        run: traffic.run.clone(),
        seed: traffic.seed,
        send_twice: traffic.send_twice,
        cut: traffic.cut,
    };
    let recorded = Mutex::default();
    let (keys, counts) = (KeyLog::Memory(recorded), LoadCounts::default());
    let sent = load::send(client, &load, &keys, &counts, stop).await;
    let mut faults = counts.failures();
    faults.extend(sent.err().map(|error| error.to_string()));
    let recorded = match keys {
        KeyLog::Memory(recorded) => recorded.into_inner().unwrap_or_else(PoisonError::into_inner),
        KeyLog::None | KeyLog::Manifest(_) => BTreeMap::new(),
    };
    TrafficReport {
        recorded,
        sent: counts.sent.get(),
        replayed: counts.replayed.get(),
        repeated: counts.repeated.get(),
        faults,
        took: counts.took,
        elapsed: began.elapsed(),
    }
}
