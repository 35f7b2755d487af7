//! The summary of a run, a line on stderr and JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use ecom_domain::reason::Reason;
use ecom_domain::role::RoleName;
use ecom_telemetry::metrics::{DispositionLabel, Resolution, RoleMetrics};

/// The counts of one run of a role. They are an indication; the proof is `ecom_facts verify`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Summary {
    /// The role.
    pub role: RoleName,
    /// Deliveries received.
    pub received: u64,
    /// Messages acknowledged by the bus (producers).
    pub published: u64,
    /// Written to the fact table.
    pub applied: u64,
    /// The row already showed it.
    pub already_applied: u64,
    /// The row showed a newer event.
    pub superseded: u64,
    /// Written to the dead-letter store.
    pub recorded: u64,
    /// Payments that entered the early-payment buffer.
    pub buffered: u64,
    /// Dead letters published, by reason.
    pub dead_lettered: BTreeMap<&'static str, u64>,
    /// Attempts to resolve dead letters, retries and rechecks.
    pub retried: u64,
    /// Dead letters recovered.
    pub recovered: u64,
    /// Dead letters parked after they waited.
    pub parked: u64,
    /// Deliveries given back to the bus.
    pub nacked: u64,
    /// Redeliveries, where the bus counts delivery attempts.
    pub redelivered: u64,
    /// Duration of the run.
    pub elapsed_seconds: f64,
    /// Messages acked or published, and dead letters retried, per second.
    pub per_second: f64,
    /// Median time from delivery to ack or nack.
    pub p50_seconds: f64,
    /// 99th percentile of the time from delivery to ack or nack.
    pub p99_seconds: f64,
}

impl Summary {
    /// The counts after `elapsed`.
    pub fn of(metrics: &RoleMetrics, elapsed: Duration) -> Self {
        let dead_lettered: BTreeMap<_, _> = Reason::ALL
            .into_iter()
            .map(|reason| (reason.as_str(), metrics.dead_letters(reason)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let done = metrics.acked() + metrics.published.get() + metrics.attempted.get();
        Self {
            role: metrics.role,
            received: metrics.received.get(),
            published: metrics.published.get(),
            applied: metrics.count(DispositionLabel::Applied),
            already_applied: metrics.count(DispositionLabel::AlreadyApplied),
            superseded: metrics.count(DispositionLabel::Superseded),
            recorded: metrics.count(DispositionLabel::Recorded),
            buffered: metrics.buffered.get(),
            dead_lettered,
            retried: metrics.attempted.get(),
            recovered: metrics.resolutions(Resolution::Recovered),
            parked: metrics.resolutions(Resolution::Parked),
            nacked: metrics.count(DispositionLabel::Nacked),
            redelivered: metrics.redelivered.get(),
            elapsed_seconds: elapsed.as_secs_f64(),
            per_second: done as f64 / elapsed.as_secs_f64().max(0.001),
            p50_seconds: metrics.quantile(0.5).as_secs_f64(),
            p99_seconds: metrics.quantile(0.99).as_secs_f64(),
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.role)?;
        let counts = [
            ("received", self.received),
            ("published", self.published),
            ("applied", self.applied),
            ("already applied", self.already_applied),
            ("superseded", self.superseded),
            ("recorded", self.recorded),
            ("buffered", self.buffered),
            ("retried", self.retried),
            ("recovered", self.recovered),
            ("parked", self.parked),
            ("nacked", self.nacked),
            ("redelivered", self.redelivered),
        ];
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, " {count} {name},")?;
        }
        for (reason, count) in &self.dead_lettered {
            write!(f, " {count} dead-lettered as {reason},")?;
        }
        write!(f, " {:.1} s, {:.0}/s", self.elapsed_seconds, self.per_second)?;
        if self.received > 0 {
            write!(f, ", p50 {:.1} ms, p99 {:.1} ms", self.p50_seconds * 1e3, self.p99_seconds * 1e3)?;
        }
        Ok(())
    }
}
