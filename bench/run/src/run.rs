//! The run: services warmed up, every arm in every round, each measured and checked.

use crate::arm::{Kind, Peer};
use crate::launch::{Fresh, Place, Runner, create};
use crate::measured::{Latency, Measured};
use crate::options::{Arm, Options};
use crate::relay::{self, Relay};
use crate::usage::{self, Counter};
use crate::{dead_letter, dead_letter_store, dead_letter_topic, facts, latency, messages, peers, table};
use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// An arm that has not finished within this is void.
const PATIENCE: Duration = Duration::from_secs(300);
/// Peers count their events in steps of this many.
const COUNTED: u64 = 200;
/// Interval between two looks at the progress.
const INTERVAL: Duration = Duration::from_millis(2);
/// Seconds of load at half of the arm's rate, for the latency.
const LATENCY_SECONDS: f64 = 5.0;

/// Runs the arms and prints the tables; the exit code is 1 if a measurement is void.
pub async fn all(options: &Options) -> Result<ExitCode> {
    let out = options.out.clone().context("--out is missing")?;
    let variable = |name| std::env::var(name).with_context(|| format!("{name} is not set"));
    let place = Place {
        binaries: std::env::current_exe()?.parent().context("a program is in a folder")?.to_path_buf(),
        peers: out.join("peers"),
        logs: out.join("logs"),
        emulator: variable("PUBSUB_EMULATOR_HOST")?,
        cassandra: variable("CASSANDRA_CONTACT_POINTS")?,
    };
    create(&place.logs)?;
    let mut arms =
        if options.only.is_empty() { Arm::value_variants().to_vec() } else { options.only.clone() };
    peers::build(&mut arms, &place.peers).await?;
    if arms.contains(&Arm::OrdersSlow)
        && let Err(error) = Relay::start(&place.cassandra).await
    {
        eprintln!("left out: Cassandra made slow ({error:#})");
        arms.retain(|arm| *arm != Arm::OrdersSlow);
    }
    // A JVM is measured warm or not at all.
    let mut warmed = 0;
    while warmed < options.warm_up {
        for arm in [Arm::R3Update, Arm::MinimalOrders] {
            let measured = measure(&place, arm, options, 0).await?;
            eprintln!("warming up: {measured}");
            warmed += measured.events;
        }
    }
    let (mut good, mut void) = (Vec::new(), 0);
    for round in 0..if options.quick { 1 } else { options.rounds } {
        for arm in shuffled(&arms, round) {
            match measure(&place, arm, options, round).await {
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
    std::fs::write(&csv, table::csv(&good)).with_context(|| format!("could not write {}", csv.display()))?;
    println!("{}", table::markdown(&good, &usage::machine()));
    eprintln!("every measurement: {}", csv.display());
    if void > 0 {
        eprintln!("{void} of {} measurements are void", good.len() + void);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the arms in an order of the round's own, so that none always follows the same one.
fn shuffled(arms: &[Arm], round: u32) -> Vec<Arm> {
    let mut order = arms.to_vec();
    let mut state = u64::from(round).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03;
    for last in (1..order.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(last, usize::try_from(state % (last as u64 + 1)).unwrap_or_default());
    }
    order
}

/// Measures an arm, checks every row and dead letter, and deletes what it made.
async fn measure(place: &Place, arm: Arm, options: &Options, round: u32) -> Result<Measured> {
    let events = events(arm, options);
    let fresh = prepare(place, arm, events).await?;
    let checked = async {
        let measured = throughput(place, arm, &fresh, events, options).await?;
        check(arm, &fresh, events).await?;
        Ok(Measured { round, ..measured })
    };
    let checked: Result<Measured> = checked.await;
    clean(arm, &fresh).await;
    let measured = checked?;
    let latency = match arm.has_latency() {
        true => Some(latency(place, arm, &measured, options).await?),
        false => None,
    };
    Ok(Measured { latency, ..measured })
}

/// Returns the events of an arm: fewer for slower programs, and a multiple of what peers count in.
fn events(arm: Arm, options: &Options) -> u64 {
    let wanted = match (arm.peer(), arm.kind()) {
        (Some(Peer::Python), _) => options.events / 6,
        (None, Kind::DeadLetter) => options.events / 2,
        _ => options.events,
    };
    wanted.next_multiple_of(COUNTED).max(COUNTED)
}

/// Creates a fresh topic, subscription and table, with the orders that payments need.
async fn prepare(place: &Place, arm: Arm, events: u64) -> Result<Fresh> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let unique = format!("{}{}", arm.name().replace('-', ""), now.as_millis());
    let (project, keyspace) = (format!("bench-{unique}"), format!("bench_{unique}"));
    let fresh = Fresh { project, keyspace, began: i64::try_from(now.as_micros())? };
    if arm.binary().is_some() {
        place.set_up(&fresh).await?;
    } else {
        messages::create(&fresh.project, arm.kind().topic()).await?;
        if arm.writes() {
            facts::schema(&fresh.keyspace).await?;
        }
    }
    if arm.kind() == Kind::Payment {
        facts::fill(&fresh.keyspace, events.cast_signed(), arm.missing()).await?;
    }
    Ok(fresh)
}

/// Compares what the arm left behind with what was published.
async fn check(arm: Arm, fresh: &Fresh, events: u64) -> Result<()> {
    let events = events.cast_signed();
    if arm.writes() {
        facts::check(&fresh.keyspace, arm.kind(), events, arm.missing()).await?;
    }
    match (arm.binary().is_some(), arm.kind()) {
        (_, Kind::DeadLetter) => dead_letter_store::check(&fresh.keyspace, events, fresh.began).await,
        (true, Kind::Payment) => {
            let topic = Kind::DeadLetter.topic();
            dead_letter_topic::check(&fresh.project, topic, events, arm.missing()).await
        }
        _ => Ok(()),
    }
}

/// Deletes what is left of a measurement: it would slow down the next one.
async fn clean(arm: Arm, fresh: &Fresh) {
    for kind in Kind::value_variants() {
        if arm.binary().is_some() || *kind == arm.kind() {
            let _ = messages::delete(&fresh.project, kind.topic()).await;
        }
    }
    if arm.writes() || arm.binary().is_some() {
        let _ = facts::drop_keyspace(&fresh.keyspace).await;
    }
}

/// Measures with every write behind the relay where the arm asks for it.
async fn throughput(
    place: &Place,
    arm: Arm,
    fresh: &Fresh,
    events: u64,
    options: &Options,
) -> Result<Measured> {
    let relay = if arm == Arm::OrdersSlow { Some(Relay::start(&place.cassandra).await?) } else { None };
    let mut place = place.clone();
    if let Some(relay) = &relay {
        place.cassandra.clone_from(&relay.address);
    }
    let mut runner = place.start(arm, fresh, events, options)?;
    let mut result = watch(&place, arm, fresh, events, options, &mut runner).await;
    if result.is_ok() && relay.is_some() {
        let checked = runner.metrics().await.and_then(|metrics| relay::check(&metrics));
        result = checked.and(result);
    }
    runner.stop().await;
    result
}

/// Feeds `events` in a closed loop and watches the process until the last one is done.
async fn watch(
    place: &Place,
    arm: Arm,
    fresh: &Fresh,
    events: u64,
    options: &Options,
    runner: &mut Runner,
) -> Result<Measured> {
    let pid = runner.child.id().context("it has ended at once")?;
    let mut generator = None;
    if arm.receives() {
        runner.await_ready().await?;
        generator = Some(Generator::start(arm.kind(), fresh, events));
    }
    let counter = Counter::start(pid, &place.logs);
    let before = usage::cpu_ns(pid);
    let start = Instant::now();
    let (mut cpu, mut rss) = (before, 0);
    loop {
        let done = runner.done();
        if done >= events {
            break;
        }
        if let Some(generator) = &generator {
            let permitted = (done + options.backlog).min(events).cast_signed();
            generator
                .permit
                .send_if_modified(|total| std::mem::replace(total, permitted.max(*total)) < permitted);
        }
        if runner.has_ended() {
            sleep(Duration::from_millis(100)).await;
            ensure!(runner.done() >= events, "it ended after {done} events: {}", runner.last_lines());
        }
        if start.elapsed() > PATIENCE {
            bail!("{done} of {events} events after {PATIENCE:?}: {}", runner.last_lines());
        }
        sleep(INTERVAL).await;
        // A process that ends by itself takes its figures along: the last ones seen are kept.
        (cpu, rss) = (cpu.max(usage::cpu_ns(pid)), rss.max(usage::peak_rss(pid)));
    }
    let seconds = start.elapsed().as_secs_f64();
    cpu = cpu.max(usage::cpu_ns(pid));
    let instructions = match counter {
        Some(counter) => counter.stop().await,
        None => None,
    };
    if let Some(generator) = generator {
        generator.task.await?.context("the generator failed")?;
    }
    let cpu_seconds = (cpu - before) as f64 / 1e9;
    Ok(Measured { arm, round: 0, events, seconds, cpu_seconds, peak_rss: rss, instructions, latency: None })
}

/// The one source of load: publishes up to the total that it is permitted.
struct Generator {
    permit: watch::Sender<i64>,
    task: JoinHandle<Result<()>>,
}

impl Generator {
    fn start(kind: Kind, fresh: &Fresh, events: u64) -> Self {
        let (permit, permitted) = watch::channel(0);
        let (project, began) = (fresh.project.clone(), fresh.began);
        let task = tokio::spawn(async move {
            let message = |id| match kind {
                Kind::DeadLetter => dead_letter::message(id, began),
                Kind::Order | Kind::Payment => messages::message(kind, id),
            };
            messages::feed(&project, kind.topic(), events.cast_signed(), permitted, message).await
        });
        Self { permit, task }
    }
}

/// Measures publish to visible row at half of the rate that was just measured, in an open loop.
async fn latency(place: &Place, arm: Arm, measured: &Measured, options: &Options) -> Result<Latency> {
    let rate = (measured.rate() / 2.0).max(1.0);
    let events = (rate * LATENCY_SECONDS) as u64;
    let fresh = prepare(place, arm, events).await?;
    let runner = place.start(arm, &fresh, events, options)?;
    let result = match runner.await_ready().await {
        Ok(()) => {
            let (project, keyspace) = (&fresh.project, &fresh.keyspace);
            latency::measure(project, keyspace, arm.kind(), events.cast_signed(), rate.round() as u32).await
        }
        Err(error) => Err(error),
    };
    runner.stop().await;
    clean(arm, &fresh).await;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_every_arm_once_in_an_order_of_its_own() {
        let arms = Arm::value_variants();
        let (first, second) = (shuffled(arms, 0), shuffled(arms, 1));
        assert_ne!(first, second);
        for arm in arms {
            assert_eq!(first.iter().filter(|other| *other == arm).count(), 1);
        }
    }
}
