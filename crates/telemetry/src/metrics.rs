//! Every metric family, in one place. Whatever is counted was resolved before the first message, so
//! that a message costs a few relaxed additions whether anybody scrapes or not.
//!
//! `docs/metrics.md` is the same table for people; a test holds the two together.

mod dead_letter_counts;
mod durations;
mod exposition;
mod labels;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use dead_letter_counts::{DeadLetterCounts, DeadLetterGauges};
use durations::{Durations, Quantiles};
use ecom_domain::event_time::EventTime;
use ecom_domain::reason::Reason;
use exposition::{Family, MetricKind};
pub use labels::{Answer, DispositionLabel, Resolution, StoreOperation, Topic};

/// What every name begins with.
const PREFIX: &str = "ecom";
/// The commit the binary was built from, where the build says so.
const COMMIT: Option<&str> = option_env!("ECOM_COMMIT");

/// Upper bounds of messages and calls in seconds, from a local write to an outage.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0];
/// Upper bounds of a dead letter's age in seconds, from the first retry to a week, the default of
/// `dead_letters.max_age`.
const AGES: &[f64] = &[1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0, 259_200.0, 604_800.0];

const BUILD: Family = Family::new("build", MetricKind::Info, "1, with the running version and its commit");
const RECEIVED: Family =
    Family::new("messages_received", MetricKind::Counter, "Deliveries taken by a worker");
const REDELIVERED: Family = Family::new(
    "messages_redelivered",
    MetricKind::Counter,
    "Of those, repeated ones, where the bus counts attempts",
);
const HELD: Family = Family::new("messages_held", MetricKind::Counter, "Payments that entered the hold");
const MESSAGE: Family = Family::new(
    "message",
    MetricKind::Seconds,
    "From worker to settlement, waiting in the hold included; its count is the settled deliveries",
);
const IN_FLIGHT: Family = Family::new(
    "in_flight",
    MetricKind::Gauge,
    "Deliveries in a worker or in the hold; of a producer, messages without a receipt",
);
const IN_FLIGHT_LIMIT: Family =
    Family::new("in_flight_limit", MetricKind::Gauge, "The most there can be in flight now");
const PUBLISH: Family =
    Family::new("publish", MetricKind::Seconds, "From handing over to the receipt, each attempt");
const STORE: Family = Family::new("store", MetricKind::Seconds, "Calls of the store, each attempt");
const PUBLISHED_DEAD_LETTERS: Family = Family::new(
    "dead_letters_published",
    MetricKind::Counter,
    "Dead letters with a receipt; undecodable, invalid and pan_detected are decode failures",
);
const RESOLVED_DEAD_LETTERS: Family =
    Family::new("dead_letters_resolved", MetricKind::Counter, "Dead letters the handler recovered or parked");
const DEAD_LETTER_AGE: Family = Family::new(
    "dead_letter_age",
    MetricKind::Seconds,
    "Age of those dead letters, from the first failure to the handler's act",
);
const DEAD_LETTERS: Family =
    Family::new("dead_letters", MetricKind::Gauge, "Dead letters in the dead-letter store, as last counted");
const OLDEST_WAITING: Family = Family::new(
    "dead_letter_oldest_waiting_age",
    MetricKind::GaugeSeconds,
    "Age of the oldest waiting dead letter, from its first failure; 0 where none waits",
);
const HEARTBEAT_AGE: Family = Family::new(
    "heartbeat_age",
    MetricKind::GaugeSeconds,
    "Time since any process of a role was last seen, by the heartbeats beside the dead-letter store",
);

/// Calls of one kind, by what came of them.
#[derive(Debug)]
pub struct Calls([Durations; Answer::ALL.len()]);

impl Calls {
    fn new() -> Self {
        Self(std::array::from_fn(|_| Durations::new(SECONDS)))
    }

    /// Counts a call and how long it took.
    pub fn observe(&self, answer: Answer, took: Duration) {
        self.0[answer as usize].observe(took);
    }
}

/// What one role counts.
#[derive(Debug)]
pub struct RoleMetrics {
    /// The role's name, a label of all of them.
    pub role: &'static str,
    /// Deliveries taken by a worker.
    pub received: Counter,
    /// Of those, deliveries the bus counted as repeated.
    pub redelivered: Counter,
    /// Payments that entered the hold.
    pub buffered: Counter,
    /// A producer's messages with a receipt, for its summary.
    pub published: Counter,
    /// Deliveries in a worker or in the hold; of a producer, messages without a receipt.
    pub in_flight: Gauge,
    /// The most there can be in flight now.
    pub in_flight_limit: Gauge,
    settled: [Durations; DispositionLabel::ALL.len()],
    took: Quantiles,
    dead_lettered: [Counter; Reason::ALL.len()],
    resolved: [Durations; Resolution::ALL.len()],
    store: [Calls; StoreOperation::ALL.len()],
    publish: [Calls; Topic::ALL.len()],
    newest_event: AtomicI64,
    /// Whether somebody can ask for them.
    exported: AtomicBool,
}

impl RoleMetrics {
    /// Fresh counters for a role.
    pub fn new(role: &'static str) -> Self {
        Self {
            role,
            received: Counter::default(),
            redelivered: Counter::default(),
            buffered: Counter::default(),
            published: Counter::default(),
            in_flight: Gauge::default(),
            in_flight_limit: Gauge::default(),
            settled: std::array::from_fn(|_| Durations::new(SECONDS)),
            took: Quantiles::new(),
            dead_lettered: std::array::from_fn(|_| Counter::default()),
            resolved: std::array::from_fn(|_| Durations::new(AGES)),
            store: std::array::from_fn(|_| Calls::new()),
            publish: std::array::from_fn(|_| Calls::new()),
            newest_event: AtomicI64::new(i64::MIN),
            exported: AtomicBool::new(false),
        }
    }

    /// Counts a settled delivery and how long it took from its worker to its settlement.
    pub fn settled(&self, outcome: DispositionLabel, took: Duration) {
        self.settled[outcome as usize].observe(took);
        self.took.observe(took);
    }

    /// Notes how far the role has come: T of an event it settled or published.
    pub fn advance_watermark(&self, t: EventTime) {
        self.newest_event.fetch_max(t.micros(), Ordering::Relaxed);
    }

    /// The latest T among the events it settled or published; `None` before the first.
    pub fn newest_event(&self) -> Option<EventTime> {
        let newest = self.newest_event.load(Ordering::Relaxed);
        (newest != i64::MIN).then(|| EventTime::stored(newest))
    }

    /// Counts a dead letter by its reason.
    pub fn dead_lettered(&self, reason: Reason) {
        self.dead_lettered[reason as usize].inc();
    }

    /// Counts a dead letter the handler was done with, and its age.
    pub fn resolved(&self, resolution: Resolution, age: Duration) {
        self.resolved[resolution as usize].observe(age);
    }

    /// Where these calls of the store are counted; nowhere as long as nobody can ask.
    pub fn store(&self, operation: StoreOperation) -> Option<&Calls> {
        self.exported.load(Ordering::Relaxed).then(|| &self.store[operation as usize])
    }

    /// Where attempts to publish on this topic are counted; nowhere as long as nobody can ask.
    pub fn publish(&self, topic: Topic) -> Option<&Calls> {
        self.exported.load(Ordering::Relaxed).then(|| &self.publish[topic as usize])
    }

    /// Deliveries settled so.
    pub fn count(&self, outcome: DispositionLabel) -> u64 {
        self.settled[outcome as usize].count()
    }

    /// Deliveries settled in any way but given back.
    pub fn finished(&self) -> u64 {
        let done = DispositionLabel::ALL.into_iter().filter(|outcome| *outcome != DispositionLabel::Nacked);
        done.map(|outcome| self.count(outcome)).sum()
    }

    /// Dead letters of this reason.
    pub fn dead_letters(&self, reason: Reason) -> u64 {
        self.dead_lettered[reason as usize].get()
    }

    /// A duration that this share of the settled deliveries did not exceed, at most a 32nd above the
    /// shortest such one.
    pub fn quantile(&self, share: f64) -> Duration {
        self.took.at(share)
    }
}

/// The registry of a process that runs these roles, and counts this dead-letter store where it handles one.
pub fn registry(roles: Vec<Arc<RoleMetrics>>, dead_letter_store: Option<Arc<DeadLetterGauges>>) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("commit", COMMIT.unwrap_or("unknown"))]);
    registry.register(BUILD.name, BUILD.help, build);
    for role in &roles {
        role.exported.store(true, Ordering::Relaxed);
    }
    registry.register_collector(Box::new(exposition::Roles(roles)));
    if let Some(dead_letter_store) = dead_letter_store {
        registry.register_collector(Box::new(dead_letter_store));
    }
    registry
}
