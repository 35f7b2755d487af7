//! The run: services warmed up, every arm in every round, each measured and checked.

use crate::arm::{Kind, Program};
use crate::launch::{Fresh, Runner, binary};
use crate::options::{Arm, Options};
use crate::relay::{self, Relay};
use crate::results::{self, Measured};
use crate::{check, embedded, facts, messages, peers, published, usage};
use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use ecom_domain::{fact::PaymentSlot, order::OrderId};
use ecom_store::FactStore;
use rand::seq::SliceRandom;
use std::time::{Duration, Instant};
use std::{process::ExitCode, sync::Arc};
use tokio::{sync::watch, task::JoinSet, time::sleep};

/// An arm that has not finished within this is void.
const PATIENCE: Duration = Duration::from_secs(300);
/// Peers count their events in steps of this many.
const COUNTED: u64 = 200;
/// Interval between two looks at the progress.
const INTERVAL: Duration = Duration::from_millis(2);
/// The load at which the latency is measured, as a share of the throughput.
const LATENCY_LOAD: f64 = 0.1;
/// Seconds of load for the latency, of which one event in so many is watched until a reader sees it.
const LATENCY_SECONDS: f64 = 10.0;
const WATCHED: i64 = 20;
/// Interval between two reads of a watched row, and the limit of the time to its event.
const WATCH_INTERVAL: Duration = Duration::from_millis(1);
const WATCH_PATIENCE: Duration = Duration::from_secs(30);

/// Runs the arms and prints the tables; the exit code is 1 if a measurement is void.
pub async fn all(options: &Options) -> Result<ExitCode> {
    let out = options.out.clone().context("--out is missing")?;
    for folder in ["peers", "logs"].map(|name| out.join(name)) {
        std::fs::create_dir_all(&folder).with_context(|| format!("could not create {}", folder.display()))?;
    }
    let mut arms = if options.only.is_empty() { Arm::value_variants().into() } else { options.only.clone() };
    peers::build(&mut arms, &out.join("peers")).await;
    if arms.contains(&Arm::OrdersSlow)
        && let Err(error) = Relay::start().await
    {
        eprintln!("left out: Cassandra made slow ({error:#})");
        arms.retain(|arm| *arm != Arm::OrdersSlow);
    }
    // A JVM is measured warm or not at all.
    let mut warmed = 0;
    while warmed < options.warm_up {
        for arm in [Arm::R3Update, Arm::MinimalOrders] {
            let measured = measure(arm, options, 0).await?;
            eprintln!("warming up: {measured}");
            warmed += measured.events;
        }
    }
    let (mut good, mut void) = (Vec::new(), 0);
    for round in 0..if options.quick { 1 } else { options.rounds } {
        // In an order of its own, so that no arm always follows the same one.
        arms.shuffle(&mut rand::rng());
        for arm in &arms {
            match measure(*arm, options, round).await {
                Ok(measured) => {
                    eprintln!("round {}: {measured}", round + 1);
                    good.push(measured);
                }
                Err(error) => {
                    eprintln!("round {}: {} is void: {error:#}", round + 1, arm.name());
                    void += 1;
                }
            }
        }
    }
    let csv = out.join("bench.csv");
    std::fs::write(&csv, results::csv(&good)?)
        .with_context(|| format!("could not write {}", csv.display()))?;
    println!("{}", results::markdown(&good, &usage::machine()));
    eprintln!("every measurement: {}", csv.display());
    if void > 0 {
        eprintln!("{void} of {} measurements are void", good.len() + void);
    }
    Ok(if void > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Measures an arm and checks every row and dead letter.
async fn measure(arm: Arm, options: &Options, round: u32) -> Result<Measured> {
    if arm.is_embedded() {
        return Ok(Measured { round, ..embedded::measure(arm, options).await? });
    }
    let events = events(arm, options);
    let fresh = prepare(arm, events).await?;
    let mut measured = throughput(arm, &fresh, events, options).await;
    if measured.is_ok() {
        measured = check::all(arm, &fresh, events.cast_signed()).await.and(measured);
    }
    clean(&fresh).await;
    let mut measured = Measured { round, ..measured? };
    if arm.has_latency() {
        let rate = (measured.rate() * LATENCY_LOAD).max(1.0);
        let events = (rate * LATENCY_SECONDS) as u64;
        let fresh = prepare(arm, events).await?;
        let runner = Runner::start(arm, &fresh, events, options, &facts::nodes()?)?;
        let latency = latency(&runner, &fresh, arm.kind(), events.cast_signed(), rate.round() as u32).await;
        runner.stop().await;
        clean(&fresh).await;
        measured.latency = Some(latency?);
    }
    Ok(measured)
}

/// Returns the events of an arm: fewer for slower programs, and a multiple of what peers count in.
fn events(arm: Arm, options: &Options) -> u64 {
    let wanted = match arm.program() {
        Program::Python => options.events / 6,
        _ if arm.kind() == Kind::DeadLetter => options.events / 2,
        _ => options.events,
    };
    wanted.next_multiple_of(COUNTED).max(COUNTED)
}

/// Creates fresh topics, subscriptions and tables, with the orders that payments need.
async fn prepare(arm: Arm, events: u64) -> Result<Fresh> {
    let fresh = Fresh::named(&arm.name().replace('-', ""))?;
    let output = binary("ecom_setup", &fresh, &facts::nodes()?)?.output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ecom_setup failed: {}", errors.trim());
    if arm.kind() == Kind::Payment {
        let ids = (1..=events.cast_signed()).filter(|id| !arm.is_missing(*id));
        facts::write(&fresh.keyspace, Kind::Order, ids, || {}).await?;
    }
    Ok(fresh)
}

/// Deletes what is left of a measurement: it would slow down the next one.
async fn clean(fresh: &Fresh) {
    for kind in [Kind::Order, Kind::Payment, Kind::DeadLetter] {
        let _ = messages::delete(&fresh.project, kind.topic()).await;
    }
    if let Ok(session) = facts::session(&fresh.keyspace).await {
        let _ = session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {}", fresh.keyspace), ()).await;
    }
}

/// Measures with every write behind the relay where the arm asks for it.
async fn throughput(arm: Arm, fresh: &Fresh, events: u64, options: &Options) -> Result<Measured> {
    let relay = if arm == Arm::OrdersSlow { Some(Relay::start().await?) } else { None };
    let cassandra = relay.as_ref().map_or_else(facts::nodes, |relay| Ok(relay.address.clone()))?;
    let mut runner = Runner::start(arm, fresh, events, options, &cassandra)?;
    let mut result = watch(arm, fresh, events, options.backlog, &mut runner).await;
    if result.is_ok() && relay.is_some() {
        let checked = runner.metrics().await.and_then(|metrics| relay::check(&metrics));
        result = checked.and(result);
    }
    runner.stop().await;
    result
}

/// Feeds `events` in a closed loop and watches the process until the last one is done.
async fn watch(arm: Arm, fresh: &Fresh, events: u64, backlog: u64, runner: &mut Runner) -> Result<Measured> {
    let pid = runner.child.id().context("it has ended at once")?;
    let (permit, permitted) = watch::channel(0);
    let mut generator = None;
    if arm.receives() {
        runner.await_ready().await?;
        let (Fresh { project, began, .. }, n) = (fresh.clone(), events.cast_signed());
        let feed = async move { messages::feed(&project, arm.kind(), n, began, permitted, || {}).await };
        generator = Some(tokio::spawn(feed));
    }
    let counter = usage::Counter::start(pid);
    let before = usage::cpu_ns(pid);
    let start = Instant::now();
    let (mut cpu, mut peak_rss) = (before, 0);
    loop {
        let done = runner.done();
        if done >= events {
            break;
        }
        let total = (done + backlog).min(events).cast_signed();
        permit.send_if_modified(|permitted| std::mem::replace(permitted, total.max(*permitted)) < total);
        if !matches!(runner.child.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(100)).await;
            ensure!(runner.done() >= events, "it ended after {done} events: {}", runner.last_lines());
        }
        if start.elapsed() > PATIENCE {
            bail!("{done} of {events} events after {PATIENCE:?}: {}", runner.last_lines());
        }
        sleep(INTERVAL).await;
        // A process that ends by itself takes its figures along: the last ones seen are kept.
        (cpu, peak_rss) = (cpu.max(usage::cpu_ns(pid)), peak_rss.max(usage::peak_rss(pid)));
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = (cpu.max(usage::cpu_ns(pid)) - before) as f64 / 1e9;
    let instructions = counter.stop().await;
    if let Some(generator) = generator {
        generator.await?.context("the generator failed")?;
    }
    let requests = match arm.program() {
        Program::Binary(_) => Some(facts::requests().await?),
        _ => None,
    };
    Ok(Measured {
        arm,
        round: 0,
        events,
        seconds,
        cpu_seconds,
        peak_rss,
        instructions,
        requests,
        latency: None,
    })
}

/// Publishes `n` events, `rate` a second, and returns median and 99th percentile, in milliseconds, of the times
/// from the intended publish to the row that a reader sees: an open loop, so that a consumer that falls behind
/// cannot slow down its own load.
async fn latency(runner: &Runner, fresh: &Fresh, kind: Kind, n: i64, rate: u32) -> Result<[f64; 2]> {
    runner.await_ready().await?;
    let store = Arc::new(facts::store(&fresh.keyspace).await?);
    let publisher = messages::publisher(&fresh.project, kind.topic()).await?;
    let mut watchers = JoinSet::new();
    let start = Instant::now();
    for id in 1..=n {
        let intended = start + Duration::from_secs(1) * u32::try_from(id)? / rate;
        let early = intended.saturating_duration_since(Instant::now());
        if early > Duration::from_millis(1) {
            sleep(early).await;
        }
        let receipt = publisher.publish(published::message(kind, id, 0));
        if id % WATCHED != 0 {
            continue;
        }
        let store = Arc::clone(&store);
        watchers.spawn(async move {
            receipt.await?;
            let unseen = if kind == Kind::Order { PaymentSlot::NoOrder } else { PaymentSlot::Empty };
            while store.payment_slot(OrderId(id)).await? == unseen {
                ensure!(intended.elapsed() <= WATCH_PATIENCE, "{id} was not seen within {WATCH_PATIENCE:?}");
                sleep(WATCH_INTERVAL).await;
            }
            anyhow::Ok(intended.elapsed())
        });
    }
    let mut seen = watchers.join_all().await.into_iter().collect::<Result<Vec<Duration>>>()?;
    ensure!(!seen.is_empty(), "{n} events are too few to watch one in {WATCHED}");
    seen.sort_unstable();
    Ok([0.5, 0.99].map(|share| seen[(seen.len() as f64 * share) as usize].as_secs_f64() * 1e3))
}
