//! The counters of one role.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::durations::Durations;
use super::labels::{CallOutcome, DispositionLabel, Resolution, StatusClass, StoreOperation, Topic};
use crate::quantiles::Quantiles;
use ecom_domain::event_time::EventTime;
use ecom_domain::reason::Reason;
use ecom_domain::role::RoleName;

/// Bucket bounds of messages and calls in seconds, from a local write to an outage.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0];
/// Bucket bounds of a dead letter's age in seconds, from the first retry to a week, the default of
/// `dead_letters.max_age`.
const AGES: &[f64] = &[1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0, 259_200.0, 604_800.0];

/// The durations of one kind of calls, by outcome.
#[derive(Debug)]
pub struct CallDurations(pub(super) [Durations; CallOutcome::ALL.len()]);

impl CallDurations {
    fn new() -> Self {
        Self(std::array::from_fn(|_| Durations::new(SECONDS)))
    }

    /// Counts a call and its duration.
    pub fn observe(&self, outcome: CallOutcome, took: Duration) {
        self.0[outcome as usize].observe(took);
    }
}

/// The durations of HTTP requests, by operation and class of status.
#[derive(Debug)]
pub struct RequestDurations(pub(super) BTreeMap<String, [Durations; StatusClass::ALL.len()]>);

impl RequestDurations {
    fn new(operations: impl IntoIterator<Item = String>) -> Self {
        let durations = || std::array::from_fn(|_| Durations::new(SECONDS));
        Self(operations.into_iter().map(|operation| (operation, durations())).collect())
    }

    /// Counts a request and its duration; not one of an operation that was not named.
    pub fn observe(&self, operation: &str, status: StatusClass, took: Duration) {
        if let Some(classes) = self.0.get(operation) {
            classes[status as usize].observe(took);
        }
    }
}

/// The counters of one role. They are observed, never read to decide anything.
#[derive(Debug)]
pub struct RoleMetrics {
    /// The role, a label of all of them.
    pub role: RoleName,
    /// Deliveries taken by a consumer.
    pub received: Counter,
    /// Of those, redeliveries, where the bus counts delivery attempts.
    pub redelivered: Counter,
    /// Payments that entered the early-payment buffer.
    pub buffered: Counter,
    /// Deliveries whose `event_time_us` is unusable.
    pub unusable_event_times: Counter,
    /// A producer's messages that were acknowledged, for its summary.
    pub published: Counter,
    /// Attempts to resolve a waiting dead letter, for the handler's summary.
    pub attempted: Counter,
    /// Deliveries being processed or in the early-payment buffer; of a producer, messages not acknowledged yet.
    pub in_flight: Gauge,
    /// The current limit of messages in flight.
    pub in_flight_limit: Gauge,
    pub(super) deliveries: [Durations; DispositionLabel::ALL.len()],
    took: Quantiles,
    dead_lettered: [Counter; Reason::ALL.len()],
    pub(super) resolved: [Durations; Resolution::ALL.len()],
    pub(super) store: [CallDurations; StoreOperation::ALL.len()],
    pub(super) publish: [CallDurations; Topic::ALL.len()],
    pub(super) send: CallDurations,
    pub(super) requests: OnceLock<RequestDurations>,
    newest_event: AtomicI64,
    is_exported: AtomicBool,
}

impl RoleMetrics {
    /// Counters at zero.
    pub fn new(role: impl Into<RoleName>) -> Self {
        Self {
            role: role.into(),
            received: Counter::default(),
            redelivered: Counter::default(),
            buffered: Counter::default(),
            unusable_event_times: Counter::default(),
            published: Counter::default(),
            attempted: Counter::default(),
            in_flight: Gauge::default(),
            in_flight_limit: Gauge::default(),
            deliveries: std::array::from_fn(|_| Durations::new(SECONDS)),
            took: Quantiles::new(),
            dead_lettered: std::array::from_fn(|_| Counter::default()),
            resolved: std::array::from_fn(|_| Durations::new(AGES)),
            store: std::array::from_fn(|_| CallDurations::new()),
            publish: std::array::from_fn(|_| CallDurations::new()),
            send: CallDurations::new(),
            requests: OnceLock::new(),
            newest_event: AtomicI64::new(i64::MIN),
            is_exported: AtomicBool::new(false),
        }
    }

    /// Counts a finished delivery and its duration from delivery to ack or nack.
    pub fn finish(&self, disposition: DispositionLabel, took: Duration) {
        self.deliveries[disposition as usize].observe(took);
        self.took.observe(took);
    }

    /// Advances the watermark to T of an event that was acked or published; an earlier T changes nothing.
    pub fn advance_watermark(&self, t: EventTime) {
        self.newest_event.fetch_max(t.micros(), Ordering::Relaxed);
    }

    /// The watermark: the latest T of all events acked or published; `None` before the first.
    pub fn newest_event(&self) -> Option<EventTime> {
        let newest = self.newest_event.load(Ordering::Relaxed);
        (newest != i64::MIN).then(|| EventTime::stored(newest))
    }

    /// Counts a published dead letter.
    pub fn dead_lettered(&self, reason: Reason) {
        self.dead_lettered[reason as usize].inc();
    }

    /// Counts a dead letter that was recovered or parked, and its age.
    pub fn resolved(&self, resolution: Resolution, age: Duration) {
        self.resolved[resolution as usize].observe(age);
    }

    /// Dead letters that ended with this resolution.
    pub fn resolutions(&self, resolution: Resolution) -> u64 {
        self.resolved[resolution as usize].count()
    }

    /// The durations of this call of the store; `None` unless the metrics are exported.
    pub fn store(&self, operation: StoreOperation) -> Option<&CallDurations> {
        self.is_exported.load(Ordering::Relaxed).then(|| &self.store[operation as usize])
    }

    /// The durations of publish attempts on this topic; `None` unless the metrics are exported.
    pub fn publish(&self, topic: Topic) -> Option<&CallDurations> {
        self.is_exported.load(Ordering::Relaxed).then(|| &self.publish[topic as usize])
    }

    /// The durations of attempts to send to a receiver outside of bus and store; `None` unless the metrics are exported.
    pub fn send(&self) -> Option<&CallDurations> {
        self.is_exported.load(Ordering::Relaxed).then_some(&self.send)
    }

    /// Names the operations whose HTTP requests are counted. The first names count.
    pub fn name_operations(&self, operations: impl IntoIterator<Item = String>) {
        // Where a role is started again in the same process, it has the same operations.
        let _ = self.requests.set(RequestDurations::new(operations));
    }

    /// The durations of HTTP requests; `None` before their operations are named.
    pub fn requests(&self) -> Option<&RequestDurations> {
        self.requests.get()
    }

    /// Starts timing calls of bus and store.
    pub(super) fn export(&self) {
        self.is_exported.store(true, Ordering::Relaxed);
    }

    /// Deliveries finished with this disposition.
    pub fn count(&self, disposition: DispositionLabel) -> u64 {
        self.deliveries[disposition as usize].count()
    }

    /// Deliveries acked: those finished with any disposition but nacked.
    pub fn acked(&self) -> u64 {
        let acked = DispositionLabel::ALL.into_iter().filter(|label| *label != DispositionLabel::Nacked);
        acked.map(|disposition| self.count(disposition)).sum()
    }

    /// Dead letters published for this reason.
    pub fn dead_letters(&self, reason: Reason) -> u64 {
        self.dead_lettered[reason as usize].get()
    }

    /// A duration that this share of the finished deliveries did not exceed; see [`Quantiles::at`].
    pub fn quantile(&self, share: f64) -> Duration {
        self.took.at(share)
    }
}
