//! `chaos`: faults on real processes under load, then a comparison of the stores with what was published.

use crate::parts::{Parts, Process, Purpose, ROLES, fresh_folder};
use crate::services::Node;
use anyhow::{Result, bail};
use clap::Args;
use fastrand::Rng;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// The length of a stop of a role. The ack deadline is 10 s.
const STOP: Duration = Duration::from_secs(13);
/// The length of a freeze of Cassandra.
const FREEZE: Duration = Duration::from_secs(20);
/// The time that a restart of Cassandra is expected to take.
const RESTART: Duration = Duration::from_secs(20);

/// The longest wait for a rule of the broker to find something to act on: nothing is acked while Cassandra is down.
const PATIENCE: Duration = Duration::from_secs(30);

/// The share of each kind of event; the keys that are left out have their defaults.
const SETTINGS: &str = "\
[producer]
late_orders = 0.1
missing_orders = 0.05
duplicates = 0.05
order_updates = 0.05
second_payments = 0.05
invalid = 0.01
late_by = 1000

[dead_letters]
max_backoff = \"20s\"
sweep_interval = \"60s\"
";

/// The faults of the broker: a name, and the lines that inject it. A line that begins with a point is a rule
/// and counts when it took effect; any other takes effect at once.
const STREAM_FAULTS: [(&str, &[&str]); 11] = [
    ("connection asked to close", &["connections goaway"]),
    ("connection reset", &["connections reset"]),
    ("stream ended", &["streams end"]),
    ("stream failed", &["streams error:unavailable"]),
    ("messages reordered", &["queue reverse"]),
    ("new stream failed", &["open_stream after_headers:unavailable 3", "streams end"]),
    ("publish failed", &["publish error:unavailable 2"]),
    ("publish answer lost", &["publish lost:unavailable 2"]),
    ("ack answer lost", &["acknowledge lost:unavailable 3"]),
    ("ack lost", &["acknowledge ignored 3"]),
    ("delivered twice", &["deliver twice 50"]),
];

/// Options of a run.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Events to publish
    #[arg(long, default_value_t = 100_000)]
    pub events: u64,
    /// kill -9 of a consumer or the handler, started again at once
    #[arg(long, default_value_t = 30)]
    pub kills: usize,
    /// SIGSTOP of a consumer or the handler for longer than the ack deadline
    #[arg(long, default_value_t = 10)]
    pub stops: usize,
    /// kill -9 of Cassandra, started again at once
    #[arg(long, default_value_t = 3)]
    pub cassandra_restarts: usize,
    /// SIGSTOP of Cassandra for 20 s
    #[arg(long, default_value_t = 5)]
    pub cassandra_freezes: usize,
    /// Faults of streams, publishes and acks
    #[arg(long, default_value_t = 60)]
    pub stream_faults: usize,
    /// Seconds over which events and faults are spread
    #[arg(long, default_value_t = 270)]
    pub seconds: u64,
    /// Seconds that the backlog may take to drain afterwards
    #[arg(long, default_value_t = 180)]
    pub drain: u64,
    /// Seed of the faults and their moments
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The long form, an hour: 1,000,000 events, 200 kills, 60 stops, 20 restarts and 30 freezes of Cassandra, 500 stream faults
    #[arg(long)]
    pub long: bool,
    /// Keep logs, manifests and the verification in DIR (default: target/chaos)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

impl Options {
    /// Returns these options, or those of the long form.
    fn sized(&self) -> Self {
        if !self.long {
            return self.clone();
        }
        Self {
            events: 1_000_000,
            kills: 200,
            stops: 60,
            cassandra_restarts: 20,
            cassandra_freezes: 30,
            stream_faults: 500,
            seconds: 3_000,
            drain: 600,
            ..self.clone()
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Kill,
    Stop,
    Resume { role: usize, id: u32 },
    StreamFault(usize),
}

/// A role of the run, with the times that it was stopped.
struct Running {
    process: Process,
    is_stopped: bool,
}

/// Runs the chaos; returns whether it is clean and every kind of fault took effect.
pub fn run(root: &Path, options: &Options) -> Result<bool> {
    let (options, begun) = (&options.sized(), Instant::now());
    let out = fresh_folder(root, options.out.as_deref(), "chaos")?;
    let (mut parts, node) = Parts::start(root, &out, Purpose::Faults, SETTINGS)?;
    eprintln!("seed {}; logs in {}", options.seed, out.display());
    let mut rng = Rng::with_seed(options.seed);
    let running: Result<Vec<_>> = ROLES.iter().map(|name| start(&parts, &mut rng, name)).collect();
    let mut running = running?;
    let started = Instant::now();
    // An order has 2.15 events on average.
    let orders = options.events * 100 / 215;
    let mut producers =
        parts.producers(orders, options.events / 2 / options.seconds.max(1), clock(&mut rng))?;
    let (node_seed, of_node) = (rng.u64(..), options.clone());
    let node = thread::spawn(move || disturb(&node, &of_node, &mut Rng::with_seed(node_seed)));
    let mut counts = Counts::default();
    let mut acts = schedule(options, &mut rng);
    while let Some(((at, _), act)) = acts.pop_first() {
        thread::sleep((started + at).saturating_duration_since(Instant::now()));
        for role in &mut running {
            if let Some(status) = role.process.ended()? {
                bail!("{} ended with {status}, see its log in {}", role.process.name, out.display());
            }
        }
        let awake: Vec<_> = (0..running.len()).filter(|index| !running[*index].is_stopped).collect();
        match (act, rng.choice(&awake)) {
            (Act::Kill | Act::Stop, None) => {
                acts.insert((started.elapsed() + Duration::from_secs(1), rng.u64(..)), act);
            }
            (Act::Kill, Some(&index)) => {
                let name = running[index].process.name;
                running[index].process.kill()?;
                running[index] = start(&parts, &mut rng, name)?;
                counts.kills += 1;
            }
            (Act::Stop, Some(&role)) => {
                running[role].process.signal(Signal::STOP);
                running[role].is_stopped = true;
                let resume = Act::Resume { role, id: running[role].process.id() };
                acts.insert((started.elapsed() + STOP, rng.u64(..)), resume);
                counts.stops += 1;
            }
            (Act::Resume { role, id }, _) => {
                if running[role].process.id() == id {
                    running[role].process.signal(Signal::CONT);
                    running[role].is_stopped = false;
                }
            }
            (Act::StreamFault(index), _) => {
                let is_late = started.elapsed() > Duration::from_secs(options.seconds) + PATIENCE;
                if !counts.take_effect(&mut parts)? && !is_late {
                    acts.insert((started.elapsed() + Duration::from_secs(1), rng.u64(..)), act);
                    continue;
                }
                counts.inject(&mut parts, index)?;
            }
        }
    }
    let (restarts, freezes) = node.join().expect("the disturbance does not panic")?;
    let deadline = Instant::now() + PATIENCE;
    while !counts.take_effect(&mut parts)? && Instant::now() < deadline {
        thread::sleep(Duration::from_secs(1));
    }
    parts.ask("clear")?;
    for producer in &mut producers {
        producer.wait(Duration::from_secs(options.seconds))?;
    }
    let faults_end = started.elapsed().as_secs();
    let roles = running.into_iter().map(|role| role.process).collect();
    let outcome = parts.finish(roles, Duration::from_secs(options.drain))?;
    println!(
        "chaos: {} events, {} kills, {} stops, {restarts} Cassandra restarts, {freezes} Cassandra freezes, \
         {} stream faults ({}), clocks {}, {} redeliveries, {} superseded, {} dead letters, {} s \
         (faults {faults_end} s), {outcome}",
        outcome.count("published")? + outcome.count("duplicates")?,
        counts.kills,
        counts.stops,
        counts.stream_faults(),
        counts.by_name(),
        if parts.clock_library.is_some() { "+-1 h" } else { "right: libfaketime is not installed" },
        outcome.redeliveries,
        outcome.count("superseded")?,
        outcome.count("dead_letter_store")?,
        begun.elapsed().as_secs(),
    );
    let missing = counts.missing(options, restarts, freezes, outcome.redeliveries);
    if !missing.is_empty() {
        eprintln!("error: these faults did not happen as often as asked for: {}", missing.join(", "));
    }
    Ok(missing.is_empty() && outcome.is_exact())
}

/// The faults that took effect.
#[derive(Default)]
struct Counts {
    kills: usize,
    stops: usize,
    /// The number of stream faults of each kind that took effect.
    took_effect: BTreeMap<&'static str, usize>,
    injected: BTreeMap<&'static str, usize>,
    /// The rule that was given last, and the broker's counter before it.
    pending: Option<(&'static str, u64)>,
}

impl Counts {
    /// Injects a stream fault.
    fn inject(&mut self, parts: &mut Parts, index: usize) -> Result<()> {
        let (name, lines) = STREAM_FAULTS[index];
        *self.injected.entry(name).or_default() += 1;
        let is_rule =
            |line: &&str| !["connections", "streams", "queue"].iter().any(|it| line.starts_with(it));
        if lines.iter().any(is_rule) {
            self.pending = Some((name, parts.counter("faults")?));
        } else {
            *self.took_effect.entry(name).or_default() += 1;
        }
        lines.iter().try_for_each(|line| parts.ask(line).map(drop))
    }

    /// Counts the rule that was given last if it took effect, and ends it; returns false if it still waits.
    fn take_effect(&mut self, parts: &mut Parts) -> Result<bool> {
        let Some((name, before)) = self.pending else { return Ok(true) };
        if parts.counter("faults")? == before {
            return Ok(false);
        }
        *self.took_effect.entry(name).or_default() += 1;
        self.pending = None;
        parts.ask("clear").map(|_| true)
    }

    fn stream_faults(&self) -> usize {
        self.took_effect.values().sum()
    }

    fn by_name(&self) -> String {
        self.took_effect.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    }

    /// Returns what did not happen: a run without its faults proves nothing. The last rule may find nothing to act on,
    /// so one effect of each kind of stream fault is enough.
    fn missing(&self, options: &Options, restarts: usize, freezes: usize, redeliveries: u64) -> Vec<String> {
        let counts = [
            ("kills", self.kills, options.kills),
            ("stops", self.stops, options.stops),
            ("Cassandra restarts", restarts, options.cassandra_restarts),
            ("Cassandra freezes", freezes, options.cassandra_freezes),
            ("redeliveries", usize::from(redeliveries > 0), usize::from(options.kills > 0)),
        ];
        let kinds =
            self.injected.keys().map(|name| (*name, self.took_effect.get(name).map_or(0, |it| *it), 1));
        let short = counts.into_iter().chain(kinds).filter(|(_, count, wanted)| count < wanted);
        short.map(|(name, count, wanted)| format!("{name} ({count} of {wanted})")).collect()
    }
}

/// Starts a role, its clock an hour fast or slow.
fn start(parts: &Parts, rng: &mut Rng, name: &'static str) -> Result<Running> {
    Ok(Running { process: parts.role(name, clock(rng))?, is_stopped: false })
}

/// Returns the offset of a process's clock.
fn clock(rng: &mut Rng) -> Option<&'static str> {
    Some(if rng.bool() { "+1h" } else { "-1h" })
}

/// Returns the acts at random moments, the kinds of stream faults in turn.
fn schedule(options: &Options, rng: &mut Rng) -> BTreeMap<(Duration, u64), Act> {
    let faults = (0..options.stream_faults).map(|index| Act::StreamFault(index % STREAM_FAULTS.len()));
    let kills = std::iter::repeat_n(Act::Kill, options.kills);
    let stops = std::iter::repeat_n(Act::Stop, options.stops);
    let acts: Vec<_> = faults.chain(kills).chain(stops).collect();
    let at = |rng: &mut Rng| Duration::from_millis(rng.u64(2_000..options.seconds.max(3) * 1_000));
    acts.into_iter().map(|act| ((at(rng), rng.u64(..)), act)).collect()
}

/// Restarts and freezes Cassandra in random order; returns the number of each.
fn disturb(node: &Node, options: &Options, rng: &mut Rng) -> Result<(usize, usize)> {
    let (restarts, freezes) = (options.cassandra_restarts, options.cassandra_freezes);
    let mut acts = [vec![true; restarts], vec![false; freezes]].concat();
    rng.shuffle(&mut acts);
    let busy = RESTART.as_secs() * restarts as u64 + FREEZE.as_secs() * freezes as u64;
    let pause = options.seconds.saturating_sub(busy) / (acts.len() as u64 + 1);
    for is_restart in acts {
        thread::sleep(Duration::from_secs(rng.u64(pause / 2..=pause).max(3)));
        if is_restart { node.kill_and_restart()? } else { node.freeze(FREEZE)? }
    }
    Ok((restarts, freezes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &[&str]) -> Options {
        Line::parse_from([&["chaos"], line].concat()).options
    }

    #[test]
    fn a_seed_gives_the_same_schedule_with_every_fault_in_it() {
        let options = options(&["--kills", "4", "--stops", "2", "--stream-faults", "22", "--seconds", "60"]);
        let of = |seed| schedule(&options, &mut Rng::with_seed(seed));
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        assert_eq!(of(7).len(), 28);
        assert!(of(7).keys().all(|(at, _)| *at < Duration::from_secs(60)));
        let kinds: std::collections::BTreeSet<_> = of(7).into_values().collect();
        assert_eq!(kinds.len(), STREAM_FAULTS.len() + 2);
    }

    #[test]
    fn a_run_whose_faults_did_not_happen_is_not_clean() {
        let options = options(&["--kills", "1", "--stops", "0"]);
        let mut counts = Counts { kills: 1, ..Counts::default() };
        assert_eq!(counts.missing(&options, 3, 5, 9), Vec::<String>::new());
        assert_eq!(
            counts.missing(&options, 2, 5, 0),
            ["Cassandra restarts (2 of 3)", "redeliveries (0 of 1)"]
        );
        counts.injected.insert("ack lost", 2);
        assert_eq!(counts.missing(&options, 3, 5, 9), ["ack lost (0 of 1)"]);
        counts.took_effect.insert("ack lost", 1);
        assert_eq!(counts.missing(&options, 3, 5, 9), Vec::<String>::new());
    }
}
