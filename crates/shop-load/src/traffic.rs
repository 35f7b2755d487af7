//! Traffic in a closed loop: each user sends a request, waits for its answer, and sends the next.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::{ApiAnswer, ApiClient};
use super::requests::{self, TransactionMix};
use ecom_telemetry::quantiles::Quantiles;

/// The wait before a request is repeated.
const RETRY: Duration = Duration::from_millis(250);

/// What is created.
#[derive(Clone, Debug)]
pub enum Creates {
    /// Orders that are paid at once.
    Orders,
    /// Transactions without an order.
    Transactions(TransactionMix),
}

impl Creates {
    fn path(&self) -> &'static str {
        match self {
            Self::Orders => "/api/v1/orders",
            Self::Transactions(_) => "/api/v1/transactions",
        }
    }

    fn body(&self, dice: &mut ChaCha8Rng, user: u64) -> Value {
        match self {
            Self::Orders => requests::order(dice, i64::try_from(user).unwrap_or(0) + 1),
            Self::Transactions(mix) => requests::transaction(dice, mix),
        }
    }

    /// Returns the id in an answer.
    fn id(&self, answer: &ApiAnswer) -> Option<i64> {
        match self {
            Self::Orders => answer.body["order_id"].as_i64(),
            Self::Transactions(_) => answer.body["transaction_id"].as_str()?.parse().ok(),
        }
    }
}

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
    /// What was wrong with answers: another id for the same key, or a refusal.
    pub faults: Vec<String>,
    /// The time from a request to its answer.
    pub took: Quantiles,
    /// The time that the traffic took.
    pub elapsed: Duration,
}

/// Sends traffic, until everything is answered or it is stopped.
pub async fn send(client: &ApiClient, traffic: &Traffic, stop: &CancellationToken) -> TrafficReport {
    let began = Instant::now();
    let report = Mutex::new(TrafficReport::default());
    let users = (0..traffic.users).map(|user| run_user(client, traffic, user, &report, stop));
    join_all(users).await;
    let mut report = report.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report.elapsed = began.elapsed();
    report
}

async fn run_user(
    client: &ApiClient,
    traffic: &Traffic,
    user: u64,
    report: &Mutex<TrafficReport>,
    stop: &CancellationToken,
) {
    let mut dice = ChaCha8Rng::seed_from_u64(traffic.seed.wrapping_mul(1_000_003).wrapping_add(user));
    let share = |count: u64| count / traffic.users + u64::from(user < count % traffic.users);
    let mut left = traffic.count.map_or(u64::MAX, share);
    let mut n = 0;
    while left > 0 && !stop.is_cancelled() {
        let key = format!("{}-{user}-{n}", traffic.run);
        let body = traffic.creates.body(&mut dice, user);
        let is_cut = dice.random::<f64>() < traffic.cut;
        if is_cut {
            // The request is on its way, and nobody reads the answer.
            let sending = client.post(traffic.creates.path(), &key, &body);
            drop(tokio::time::timeout(Duration::from_millis(dice.random_range(0..20)), sending).await);
            note(report, |report| report.sent += 1);
        }
        if traffic.send_twice {
            let one = create(client, traffic, &key, &body, report, stop);
            let other = create(client, traffic, &key, &body, report, stop);
            tokio::join!(one, other);
        } else {
            create(client, traffic, &key, &body, report, stop).await;
        }
        (left, n) = (left - 1, n + 1);
        tokio::time::sleep(traffic.think).await;
    }
}

/// Sends a request until it is answered.
async fn create(
    client: &ApiClient,
    traffic: &Traffic,
    key: &str,
    body: &Value,
    report: &Mutex<TrafficReport>,
    stop: &CancellationToken,
) {
    loop {
        let began = Instant::now();
        let answer = client.post(traffic.creates.path(), key, body).await;
        note(report, |report| report.sent += 1);
        match answer {
            Ok(answer) if answer.status.is_success() => {
                let id = traffic.creates.id(&answer);
                return note(report, |report| {
                    report.took.observe(began.elapsed());
                    report.replayed += u64::from(answer.is_replayed);
                    report.record(key, id);
                });
            }
            Ok(answer) if !answer.status.is_server_error() && answer.status.as_u16() != 429 => {
                let fault = format!("{key}: {} {}", answer.status, answer.body);
                return note(report, |report| report.faults.push(fault));
            }
            Ok(_) | Err(_) => note(report, |report| report.repeated += 1),
        }
        if stop.is_cancelled() {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn note(report: &Mutex<TrafficReport>, note: impl FnOnce(&mut TrafficReport)) {
    note(&mut report.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
}

impl TrafficReport {
    fn record(&mut self, key: &str, id: Option<i64>) {
        let Some(id) = id else {
            self.faults.push(format!("{key}: the answer has no id"));
            return;
        };
        let first = *self.recorded.entry(key.to_owned()).or_insert(id);
        if first != id {
            self.faults.push(format!("{key}: recorded as {first} and as {id}"));
        }
    }
}
