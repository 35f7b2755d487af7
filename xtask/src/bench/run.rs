//! One arm in one round: fresh names, a closed loop, and a look at every row at the end.

use super::arm::{Arm, Kind, Peer};
use super::busy::{self, Counter};
use super::launch::{Fresh, Place, Runner};
use super::measured::{Latency, Measured};
use super::options::Options;
use super::relay::{self, Relay};
use crate::failure::{Failure, Outcome};
use std::io::Write;
use std::process::Child;
use std::time::{Duration, Instant};

/// An arm that has not finished within this is void.
const PATIENCE: Duration = Duration::from_secs(300);
/// Peers say how far they are after so many events.
const COUNTED: u64 = 200;
/// Between two looks at how far it is.
const GLANCE: Duration = Duration::from_millis(2);
/// How long latency is measured at half of the arm's rate, in seconds.
const LATENCY_SECONDS: f64 = 5.0;

/// Measures an arm.
pub fn arm(place: &Place, arm: Arm, options: &Options, round: u32) -> Outcome<Measured> {
    let events = events(arm, options);
    let fresh = prepare(place, arm, events)?;
    let measured = throughput(place, arm, &fresh, events, options);
    let checked = measured.and_then(|measured| {
        check(place, arm, &fresh, events)?;
        Ok(Measured { round, ..measured })
    });
    clean(place, arm, &fresh);
    let measured = checked?;
    let latency = if has_latency(arm) { Some(latency(place, arm, &measured, options)?) } else { None };
    Ok(Measured { latency, ..measured })
}

/// Slower programs get fewer events: a round must end. A multiple of what peers count in.
fn events(arm: Arm, options: &Options) -> u64 {
    let wanted = match (arm.peer(), arm.kind()) {
        (Some(Peer::Python), _) => options.events / 6,
        (None, Kind::Letter) => options.events / 2,
        _ => options.events,
    };
    wanted.next_multiple_of(COUNTED).max(COUNTED)
}

fn has_latency(arm: Arm) -> bool {
    matches!(
        arm,
        Arm::Orders
            | Arm::Payments
            | Arm::MinimalOrders
            | Arm::MinimalPayments
            | Arm::GoOrders
            | Arm::GoPayments
    )
}

/// A fresh topic, subscription and table, with the orders that payments need.
fn prepare(place: &Place, arm: Arm, events: u64) -> Outcome<Fresh> {
    let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let unique = format!("{}{}", arm.name().replace('-', ""), stamp.as_millis());
    let fresh = Fresh {
        project: format!("bench-{unique}"),
        keyspace: format!("bench_{unique}"),
        began: stamp.as_micros(),
    };
    if arm.is_ours() {
        place.set_up(&fresh)?;
    } else {
        place.limits(&["topic", &fresh.project, arm.kind().topic()])?;
        if arm.writes() {
            place.limits(&["schema", &fresh.keyspace])?;
        }
    }
    if arm.kind() == Kind::Payment {
        place.limits(&["fill", &fresh.keyspace, &events.to_string(), &arm.missing().to_string()])?;
    }
    Ok(fresh)
}

/// Every row, cell by cell; every letter in the ledger and every one that was published.
fn check(place: &Place, arm: Arm, fresh: &Fresh, events: u64) -> Outcome<()> {
    let (events, missing) = (events.to_string(), arm.missing().to_string());
    if arm.writes() {
        place.limits(&["check", &fresh.keyspace, arm.kind().word(), &events, &missing])?;
    }
    if arm.kind() == Kind::Letter {
        place.limits(&["check-ledger", &fresh.keyspace, &events, &fresh.began.to_string()])?;
    }
    if arm.kind() == Kind::Payment && arm.is_ours() {
        place.limits(&["check-dead", &fresh.project, Kind::Letter.topic(), &events, &missing])?;
    }
    Ok(())
}

/// What is left of a measurement would slow down the next one.
fn clean(place: &Place, arm: Arm, fresh: &Fresh) {
    let kinds = [Kind::Order, Kind::Payment, Kind::Letter];
    for kind in kinds.into_iter().filter(|kind| arm.is_ours() || *kind == arm.kind()) {
        let _ = place.limits(&["delete", &fresh.project, kind.topic()]);
    }
    if arm.writes() || arm.is_ours() {
        let _ = place.limits(&["drop", &fresh.keyspace]);
    }
}

/// Feeds `events` in a closed loop and watches the process until the last one is done.
fn throughput(place: &Place, arm: Arm, fresh: &Fresh, events: u64, options: &Options) -> Outcome<Measured> {
    let relay = if arm.is_slowed() { Some(Relay::start(place)?) } else { None };
    let seen = relay.as_ref().map_or_else(|| place.clone(), |relay| relay.before(place));
    let mut runner = seen.start(arm, fresh, events, options)?;
    let result = watch(place, arm, fresh, events, options, &mut runner).and_then(|measured| match relay {
        Some(_) => relay::check(&runner.metrics().unwrap_or_default()).map(|()| measured),
        None => Ok(measured),
    });
    runner.stop();
    result
}

fn watch(
    place: &Place,
    arm: Arm,
    fresh: &Fresh,
    events: u64,
    options: &Options,
    runner: &mut Runner,
) -> Outcome<Measured> {
    let pid = runner.child.id();
    let mut generator = None;
    if arm.receives() {
        runner.await_ready()?;
        generator = Some(Generator::start(place, arm, fresh, events)?);
    }
    let counter = Counter::start(pid, &place.logs);
    let before = busy::cpu_ns(pid);
    let start = Instant::now();
    let (mut cpu, mut rss) = (before, 0);
    loop {
        let done = runner.progress.done();
        if done >= events {
            break;
        }
        if let Some(generator) = &mut generator {
            generator.permit((done + options.backlog).min(events));
        }
        if runner.has_ended() && runner.progress.done() < events {
            std::thread::sleep(Duration::from_millis(100));
            if runner.progress.done() < events {
                return Err(Failure::new(format!("it ended after {done} events: {}", runner.said())));
            }
        }
        if start.elapsed() > PATIENCE {
            return Err(Failure::new(format!(
                "{done} of {events} events after {PATIENCE:?}: {}",
                runner.said()
            )));
        }
        std::thread::sleep(GLANCE);
        // A process that ends by itself takes its figures along: keep the last ones seen.
        (cpu, rss) = (cpu.max(busy::cpu_ns(pid)), rss.max(busy::peak_rss(pid)));
    }
    let seconds = start.elapsed().as_secs_f64();
    cpu = cpu.max(busy::cpu_ns(pid));
    let instructions = counter.and_then(Counter::stop);
    if let Some(generator) = generator {
        generator.end()?;
    }
    Ok(Measured {
        arm,
        round: 0,
        events,
        seconds,
        cpu_seconds: (cpu - before) as f64 / 1e9,
        peak_rss: rss,
        instructions,
        latency: None,
    })
}

/// The generator, and what it was permitted so far.
struct Generator {
    child: Child,
    permitted: u64,
}

impl Generator {
    fn start(place: &Place, arm: Arm, fresh: &Fresh, events: u64) -> Outcome<Self> {
        Ok(Self { child: place.feed(arm.kind(), fresh, events)?, permitted: 0 })
    }

    fn permit(&mut self, total: u64) {
        if total > self.permitted
            && let Some(stdin) = &mut self.child.stdin
        {
            // A generator that has ended is noticed by the events that never come.
            let _ = writeln!(stdin, "{total}").and_then(|()| stdin.flush());
            self.permitted = total;
        }
    }

    fn end(mut self) -> Outcome<()> {
        drop(self.child.stdin.take());
        let ended = self.child.wait().map_err(|error| Failure::new(format!("the generator: {error}")))?;
        if ended.success() { Ok(()) } else { Err(Failure::new("the generator failed")) }
    }
}

/// Publish to visible row at half of the rate that was just measured, in an open loop.
fn latency(place: &Place, arm: Arm, measured: &Measured, options: &Options) -> Outcome<Latency> {
    let rate = (measured.rate() / 2.0).max(1.0);
    let events = (rate * LATENCY_SECONDS) as u64;
    let fresh = prepare(place, arm, events)?;
    let mut runner = place.start(arm, &fresh, events, options)?;
    let printed = runner.await_ready().and_then(|()| {
        let (topic, kind) = (arm.kind().topic(), arm.kind().word());
        let (events, rate) = (events.to_string(), format!("{rate:.0}"));
        place.limits(&["latency", &fresh.project, topic, &fresh.keyspace, kind, &events, &rate])
    });
    runner.stop();
    clean(place, arm, &fresh);
    let printed = printed?;
    percentiles(&printed).ok_or_else(|| Failure::new(format!("no percentiles in {printed:?}")))
}

fn percentiles(printed: &str) -> Option<Latency> {
    let words: Vec<&str> = printed.split_whitespace().collect();
    let value = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1)?.parse().ok()
    };
    Some(Latency { p50: value("p50_ms")?, p99: value("p99_ms")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_read_from_what_the_generator_prints() {
        assert_eq!(
            percentiles("p50_ms 12.5 p99_ms 80.0 watched 9\n"),
            Some(Latency { p50: 12.5, p99: 80.0 })
        );
        assert_eq!(percentiles("nothing"), None);
    }
}
