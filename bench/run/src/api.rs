//! The HTTP API beside a program of its users' usual stack, FastAPI on PostgreSQL. Both create the same orders by
//! idempotency key and read them, under the same users.

use crate::api_servers::{Kind, Server};
use crate::options::Options;
use crate::usage;
use anyhow::{Context, Result, ensure};
use rand::seq::SliceRandom;
use reqwest::Client;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Users who send a request, wait for its answer and send the next.
const USERS: i64 = 64;
/// The time that they do so, and the time before it that does not count: a JVM compiles what it runs often.
const MEASURED: Duration = Duration::from_secs(15);
const WARM_UP: Duration = Duration::from_secs(30);
/// Requests a second of the steady load, and how long it lasts.
const STEADY_RATE: u32 = 300;
const STEADY: Duration = Duration::from_secs(20);
/// A request without an answer for as long as this has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The measurements of a server in a round.
struct Measured {
    kind: Kind,
    /// Requests a second of the users.
    rate: f64,
    /// Their latencies, in milliseconds: median and 99th percentile.
    busy: [f64; 2],
    /// Those at the steady load, from the time at which a request was due.
    steady: [f64; 2],
    /// Microseconds on a processor for each request: of the program, and with its database where that is its own.
    cpu: [f64; 2],
}

/// Measures every server in every round, and prints the table; the exit code is 1 if a measurement is void.
pub async fn all(options: &Options) -> Result<ExitCode> {
    let out = options.out.clone().context("--out is missing")?;
    std::fs::create_dir_all(out.join("logs")).with_context(|| format!("could not use {}", out.display()))?;
    let mut kinds = Kind::ALL.to_vec();
    if let Err(error) = Kind::build_peer(&out).await {
        eprintln!("left out: FastAPI on PostgreSQL ({error:#})");
        kinds.retain(|kind| *kind != Kind::FastApi);
    }
    let (mut good, mut void) = (Vec::new(), 0);
    for round in 1..=if options.quick { 1 } else { options.rounds } {
        kinds.shuffle(&mut rand::rng());
        for kind in &kinds {
            match measure(*kind, &out).await {
                Ok(measured) => {
                    eprintln!("round {round}: {measured}");
                    good.push(measured);
                }
                Err(error) => {
                    eprintln!("round {round}: {} is void: {error:#}", kind.name());
                    void += 1;
                }
            }
        }
    }
    println!("{}", table(&good, &usage::machine()));
    Ok(if void == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(kind: Kind, out: &Path) -> Result<Measured> {
    let server = Server::start(kind, out).await?;
    let load = Arc::new(Load::of(&server)?);
    let steady = Load::steady(&load).await?;
    Load::busy(&load, WARM_UP).await?;
    let (before, began) = (server.cpu_ns(), Instant::now());
    let took = Load::busy(&load, MEASURED).await?;
    let (after, elapsed) = (server.cpu_ns(), began.elapsed());
    server.stop().await?;
    let requests = took.len() as f64;
    let cpu = |of: usize| after[of].saturating_sub(before[of]) as f64 / 1e3 / requests;
    Ok(Measured {
        kind,
        rate: requests / elapsed.as_secs_f64(),
        busy: quantiles(took),
        steady: quantiles(steady),
        cpu: [cpu(0), cpu(1)],
    })
}

/// A client of a server that numbers its orders.
struct Load {
    http: Client,
    orders: String,
    key: Option<String>,
    next: AtomicI64,
}

impl Load {
    fn of(server: &Server) -> Result<Self> {
        let http = Client::builder().no_proxy().timeout(PATIENCE).pool_max_idle_per_host(1_024).build()?;
        let orders = format!("{}/api/v1/orders", server.base);
        Ok(Self { http, orders, key: server.key.clone(), next: AtomicI64::new(0) })
    }

    /// Lets every user create an order and read it, again and again; returns how long each request took.
    async fn busy(load: &Arc<Self>, length: Duration) -> Result<Vec<Duration>> {
        let until = Instant::now() + length;
        let mut users = JoinSet::new();
        for _ in 0..USERS {
            let load = Arc::clone(load);
            users.spawn(async move {
                let mut took = Vec::new();
                while Instant::now() < until {
                    let (began, id) = (Instant::now(), load.create().await?);
                    took.push(began.elapsed());
                    let began = Instant::now();
                    load.read(id).await?;
                    took.push(began.elapsed());
                }
                anyhow::Ok(took)
            });
        }
        Ok(users.join_all().await.into_iter().collect::<Result<Vec<_>>>()?.concat())
    }

    /// Sends requests at a fixed rate, whether the earlier ones are answered or not: every other one reads an order that an
    /// earlier one has created. Returns the time from the moment at which each was due to its answer.
    async fn steady(load: &Arc<Self>) -> Result<Vec<Duration>> {
        let first = load.create().await?;
        let created = Arc::new(AtomicI64::new(first));
        let (began, count) = (Instant::now(), STEADY_RATE * u32::try_from(STEADY.as_secs())?);
        let mut requests = JoinSet::new();
        for n in 0..count {
            let due = began + STEADY * n / count;
            sleep_until(due).await;
            let (load, created) = (Arc::clone(load), Arc::clone(&created));
            requests.spawn(async move {
                if n % 2 == 0 {
                    created.store(load.create().await?, Relaxed);
                } else {
                    load.read(created.load(Relaxed)).await?;
                }
                anyhow::Ok(due.elapsed())
            });
        }
        requests.join_all().await.into_iter().collect()
    }

    async fn create(&self) -> Result<i64> {
        let n = self.next.fetch_add(1, Relaxed);
        let order = json!({
            "customer_id": n % 1_000 + 1,
            "lines": [
                {"item": "Laptop", "quantity": n % 3 + 1, "unit_price": 999.95},
                {"item": "Mouse", "quantity": 2, "unit_price": 19.99},
            ],
            "shipping_address": format!("{n} Station Road"),
            "email": "ada@example.com",
        });
        let request = self.http.post(&self.orders).header("Idempotency-Key", format!("order-{n}"));
        let request = request.header("Content-Type", "application/json").body(order.to_string());
        let created = self.answer(request, 201).await?;
        created["order_id"].as_i64().context("the answer has no order_id")
    }

    async fn read(&self, id: i64) -> Result<()> {
        let order = self.answer(self.http.get(format!("{}/{id}", self.orders)), 200).await?;
        ensure!(
            order["order_id"] == id && order["lines"].as_array().is_some_and(|it| it.len() == 2),
            "{order}"
        );
        Ok(())
    }

    async fn answer(&self, request: reqwest::RequestBuilder, status: u16) -> Result<Value> {
        let keyed = match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let answer = keyed.send().await?;
        let (found, body) = (answer.status().as_u16(), answer.bytes().await?);
        ensure!(found == status, "{found} instead of {status}: {}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice(&body)?)
    }
}

/// Waits until a server answers.
pub async fn await_answer(url: &str) -> Result<()> {
    let http = Client::builder().no_proxy().timeout(Duration::from_secs(1)).build()?;
    let answering = async {
        while http.get(url).send().await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, answering).await.with_context(|| format!("{url} did not answer"))
}

/// Returns the median and the 99th percentile, in milliseconds.
fn quantiles(mut took: Vec<Duration>) -> [f64; 2] {
    took.sort_unstable();
    [0.5, 0.99].map(|share| {
        let at = ((took.len() as f64 * share) as usize).min(took.len().saturating_sub(1));
        took.get(at).map_or(f64::NAN, |it| it.as_secs_f64() * 1e3)
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, rate, busy, steady, cpu } = self;
        write!(
            f,
            "{} {rate:.0}/s, p50 {:.1} ms, p99 {:.1} ms; at {STEADY_RATE}/s p50 {:.1} ms, p99 {:.1} ms; \
             CPU {:.0} µs a request, {:.0} µs with its database",
            kind.name(),
            busy[0],
            busy[1],
            steady[0],
            steady[1],
            cpu[0],
            cpu[1]
        )
    }
}

/// Returns the medians of all rounds as Markdown, with ratios to the peer of the same run.
fn table(measured: &[Measured], machine: &str) -> String {
    let mut of: BTreeMap<Kind, Vec<&Measured>> = BTreeMap::new();
    for one in measured {
        of.entry(one.kind).or_default().push(one);
    }
    let of_kind = |kind: &Kind, value: fn(&Measured) -> f64| {
        median(of.get(kind).into_iter().flatten().map(|one| value(one)).collect())
    };
    let columns: [fn(&Measured) -> f64; 7] = [
        |it| it.rate,
        |it| it.busy[0],
        |it| it.busy[1],
        |it| it.steady[0],
        |it| it.steady[1],
        |it| it.cpu[0],
        |it| it.cpu[1],
    ];
    let mut table = format!(
        "{machine}; {USERS} users\n\n| server | requests/s | p50 ms | p99 ms | p50 ms at {STEADY_RATE}/s | p99 ms at {STEADY_RATE}/s \
         | CPU µs a request | with its database |\n|---|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for kind in of.keys() {
        let [rate, p50, p99, steady_p50, steady_p99, cpu, with_database] =
            columns.map(|column| of_kind(kind, column));
        let _ = writeln!(
            table,
            "| {} | {rate:.0} | {p50:.1} | {p99:.1} | {steady_p50:.1} | {steady_p99:.1} | {cpu:.0} | {} |",
            kind.name(),
            if kind.has_own_database() { format!("{with_database:.0}") } else { "–".to_owned() }
        );
    }
    if of.contains_key(&Kind::FastApi) {
        for kind in of.keys().filter(|kind| **kind != Kind::FastApi) {
            let ratio =
                |column: usize| of_kind(kind, columns[column]) / of_kind(&Kind::FastApi, columns[column]);
            let _ = write!(
                table,
                "\n{} ÷ {}: requests/s {:.2}, CPU a request {:.2}",
                kind.name(),
                Kind::FastApi.name(),
                ratio(0),
                ratio(5)
            );
            if kind.has_own_database() {
                let _ = write!(table, ", with databases {:.2}", ratio(6));
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_times() {
        let took = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(quantiles(took), [101.0, 199.0]);
        assert!(quantiles(Vec::new()).iter().all(|it| it.is_nan()));
    }

    #[test]
    fn the_table_has_medians_and_their_ratios() {
        let one = |kind, rate| Measured {
            kind,
            rate,
            busy: [1.0, 2.0],
            steady: [3.0, 4.0],
            cpu: [rate, rate * 2.0],
        };
        let measured = [
            one(Kind::Embedded, 900.0),
            one(Kind::Embedded, 1_000.0),
            one(Kind::Embedded, 2_000.0),
            one(Kind::FastApi, 500.0),
        ];
        let table = table(&measured, "a machine");
        assert!(table.contains("| 1000 | 1.0 | 2.0 | 3.0 | 4.0 | 1000 | 2000 |"), "{table}");
        assert!(table.contains("requests/s 2.00, CPU a request 2.00, with databases 2.00"), "{table}");
    }
}
