//! Every metric family, in one place. Counters are resolved once, so that a message costs a few
//! relaxed additions whether anybody scrapes or not.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram as Quantiles;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::domain::event_time::EventTime;
use crate::domain::reason::Reason;

/// Upper bounds of `ecom_message_seconds`, from a local write to an outage.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0];

/// How a delivery was settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Written to the fact table.
    Applied,
    /// The row showed it already.
    AlreadyApplied,
    /// The row showed a newer one.
    Superseded,
    /// Published on the dead-letter topic.
    DeadLettered,
    /// Written to the ledger.
    Recorded,
    /// Given back.
    Nacked,
}

impl Outcome {
    const ALL: [Self; 6] = [
        Self::Applied,
        Self::AlreadyApplied,
        Self::Superseded,
        Self::DeadLettered,
        Self::Recorded,
        Self::Nacked,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::AlreadyApplied => "already_applied",
            Self::Superseded => "superseded",
            Self::DeadLettered => "dead_lettered",
            Self::Recorded => "recorded",
            Self::Nacked => "nacked",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// What one role counts.
#[derive(Debug)]
pub struct RoleMetrics {
    /// The role's name, a constant label on all of them.
    pub role: &'static str,
    /// Deliveries taken by a lane.
    pub received: Counter,
    /// Of those, deliveries the bus counted as repeated.
    pub redelivered: Counter,
    /// Payments that entered the hold.
    pub held: Counter,
    /// Messages with a receipt.
    pub published: Counter,
    /// Deliveries in a lane or in the hold.
    pub in_flight: Gauge,
    settled: [Counter; 6],
    settled_family: Family<OutcomeLabel, Counter>,
    dead_lettered: [Counter; 6],
    dead_lettered_family: Family<ReasonLabel, Counter>,
    /// Attempts at a store or bus call that failed and were repeated in place.
    pub retried: Counter,
    newest_event: AtomicI64,
    seconds: Histogram,
    quantiles: Mutex<Quantiles<u64>>,
}

impl RoleMetrics {
    /// Fresh counters for a role.
    pub fn new(role: &'static str) -> Self {
        let settled_family = Family::<OutcomeLabel, Counter>::default();
        let dead_lettered_family = Family::<ReasonLabel, Counter>::default();
        let settled = Outcome::ALL
            .map(|outcome| settled_family.get_or_create_owned(&OutcomeLabel { outcome: outcome.as_str() }));
        let dead_lettered = Reason::ALL
            .map(|reason| dead_lettered_family.get_or_create_owned(&ReasonLabel { reason: reason.as_str() }));
        Self {
            role,
            received: Counter::default(),
            redelivered: Counter::default(),
            held: Counter::default(),
            published: Counter::default(),
            in_flight: Gauge::default(),
            settled,
            settled_family,
            dead_lettered,
            dead_lettered_family,
            retried: Counter::default(),
            newest_event: AtomicI64::new(i64::MIN),
            seconds: Histogram::new(SECONDS),
            quantiles: Mutex::new(
                Quantiles::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are sound"),
            ),
        }
    }

    /// Counts a settled delivery and how long it took from its lane to its settlement.
    pub fn settled(&self, outcome: Outcome, took: Duration) {
        self.settled[outcome as usize].inc();
        self.seconds.observe(took.as_secs_f64());
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.quantiles.lock().unwrap_or_else(std::sync::PoisonError::into_inner).saturating_record(micros);
    }

    /// Notes how far the role has come: T of an event it settled or published.
    pub fn came_to(&self, t: EventTime) {
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

    /// Deliveries settled so.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.settled[outcome as usize].get()
    }

    /// Deliveries settled in any way but given back.
    pub fn finished(&self) -> u64 {
        let done = Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Nacked);
        done.map(|outcome| self.count(outcome)).sum()
    }

    /// Dead letters of this reason.
    pub fn dead_letters(&self, reason: Reason) -> u64 {
        self.dead_lettered[reason as usize].get()
    }

    /// The duration that this share of the settled deliveries did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let quantiles = self.quantiles.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Duration::from_micros(quantiles.value_at_quantile(share))
    }

    /// Registers all families under `ecom_`, labelled with the role.
    pub fn register(&self, registry: &mut Registry) {
        let role = registry.sub_registry_with_label(("role".into(), self.role.into()));
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            role.register(name, help, counter.clone());
        };
        counter("messages_received", "Deliveries taken by a lane", &self.received);
        counter("messages_redelivered", "Deliveries the bus counted as repeated", &self.redelivered);
        counter("messages_held", "Payments that entered the hold", &self.held);
        counter("messages_published", "Messages with a receipt", &self.published);
        counter("calls_retried", "Store or bus calls repeated in place", &self.retried);
        role.register("messages_settled", "Settled deliveries by outcome", self.settled_family.clone());
        role.register(
            "dead_letters_published",
            "Dead letters published by reason",
            self.dead_lettered_family.clone(),
        );
        role.register_with_unit("message", "From lane to settlement", Unit::Seconds, self.seconds.clone());
        role.register("in_flight", "Deliveries in a lane or in the hold", self.in_flight.clone());
    }
}

/// An empty registry for the process, with its build information.
pub fn registry() -> Registry {
    let mut registry = Registry::with_prefix("ecom");
    let build = prometheus_client::metrics::info::Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The running version", build);
    registry
}
