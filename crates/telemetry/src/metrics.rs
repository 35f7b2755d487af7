//! All metric families. Every counter exists before the first message, so that a message costs a few relaxed
//! additions whether the metrics are scraped or not.
//!
//! `docs/metrics.md` has the same table; a test keeps the two equal.

mod dead_letter_gauges;
mod durations;
mod exposition;
mod labels;
mod role;

use std::sync::Arc;

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use dead_letter_gauges::{DeadLetterCounts, DeadLetterGauges};
use exposition::{Family, MetricKind};
pub use labels::{CallOutcome, DispositionLabel, Resolution, StatusClass, StoreOperation, Topic};
pub use role::{CallDurations, RequestDurations, RoleMetrics};

/// The prefix of every name.
const PREFIX: &str = "ecom";
/// The commit the binary was built from, where the build sets it.
const COMMIT: Option<&str> = option_env!("ECOM_COMMIT");

const BUILD: Family = Family::new("build", MetricKind::Info, "1, with the running version and its commit");
const RECEIVED: Family =
    Family::new("messages_received", MetricKind::Counter, "Deliveries taken by a consumer");
const REDELIVERED: Family = Family::new(
    "messages_redelivered",
    MetricKind::Counter,
    "Redelivered messages taken by a consumer; only where the bus counts delivery attempts",
);
const BUFFERED: Family =
    Family::new("messages_buffered", MetricKind::Counter, "Payments that entered the early-payment buffer");
const UNUSABLE_EVENT_TIMES: Family = Family::new(
    "event_times_unusable",
    MetricKind::Counter,
    "Deliveries whose event_time_us is no time in microseconds since 2000; the publish time stands for it",
);
const MESSAGE: Family = Family::new(
    "message",
    MetricKind::Seconds,
    "From delivery to ack or nack, time in the early-payment buffer included; its count is the deliveries finished",
);
const IN_FLIGHT: Family = Family::new(
    "in_flight",
    MetricKind::Gauge,
    "Deliveries being processed or in the early-payment buffer; of a producer, messages not acknowledged yet",
);
const IN_FLIGHT_LIMIT: Family =
    Family::new("in_flight_limit", MetricKind::Gauge, "The current limit of messages in flight");
const PUBLISH: Family = Family::new(
    "publish",
    MetricKind::Seconds,
    "From publishing a message to its publish acknowledgement, per attempt",
);
const SEND: Family = Family::new(
    "send",
    MetricKind::Seconds,
    "Sending to a receiver outside of bus and store, per attempt; refused are not repeated",
);
const HTTP_REQUEST: Family = Family::new(
    "http_request",
    MetricKind::Seconds,
    "From the headers of an HTTP request to its answer; its count is the requests answered",
);
const STORE: Family = Family::new("store", MetricKind::Seconds, "Calls of the store, per attempt");
const PUBLISHED_DEAD_LETTERS: Family = Family::new(
    "dead_letters_published",
    MetricKind::Counter,
    "Dead letters published; undecodable, invalid and pan_detected are decode failures",
);
const RESOLVED_DEAD_LETTERS: Family =
    Family::new("dead_letters_resolved", MetricKind::Counter, "Dead letters the handler recovered or parked");
const DEAD_LETTER_AGE: Family = Family::new(
    "dead_letter_age",
    MetricKind::Seconds,
    "Age of dead letters when the handler recovered or parked them, from their first failure",
);
const DEAD_LETTERS: Family =
    Family::new("dead_letters", MetricKind::Gauge, "Dead letters in the dead-letter store, as last counted");
const OLDEST_WAITING: Family = Family::new(
    "dead_letter_oldest_waiting_age",
    MetricKind::GaugeSeconds,
    "Age of the oldest waiting dead letter, from its first failure; 0 when none waits",
);
const HEARTBEAT_AGE: Family = Family::new(
    "heartbeat_age",
    MetricKind::GaugeSeconds,
    "Time since the last heartbeat of any process of a role, as read from the store",
);

/// The registry of a process that runs these roles, with the gauges of the dead-letter store where it has
/// them. From then on, calls of bus and store are timed.
pub fn registry(roles: Vec<Arc<RoleMetrics>>, dead_letters: Option<Arc<DeadLetterGauges>>) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("commit", COMMIT.unwrap_or("unknown"))]);
    registry.register(BUILD.name, BUILD.help, build);
    for role in &roles {
        role.export();
    }
    registry.register_collector(Box::new(exposition::Roles(roles)));
    if let Some(dead_letters) = dead_letters {
        registry.register_collector(Box::new(dead_letters));
    }
    registry
}
