//! The counts of a load, and the report at its end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use ecom_telemetry::quantiles::Quantiles;

/// The failures that are kept with their texts; the others are only counted.
const SHOWN: usize = 20;

/// A number that rises.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub(crate) fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts of a load, in constant memory.
#[derive(Debug, Default)]
pub struct LoadCounts {
    /// Requests, each with a key of its own.
    pub requests: Count,
    /// Requests that were answered with the id of their record.
    pub recorded: Count,
    /// Requests that were not answered before the load ended.
    pub unanswered: Count,
    /// Requests that were refused, or that were answered with two ids or none.
    pub failed: Count,
    /// HTTP requests, repetitions included.
    pub sent: Count,
    /// Answers that said that the request had been recorded before.
    pub replayed: Count,
    /// Requests that were repeated because there was no answer, or one that asks for it.
    pub repeated: Count,
    /// HTTP requests whose answer was not waited for.
    pub cut: Count,
    /// From a request to its answer, repetitions included.
    pub took: Quantiles,
    failures: Mutex<Vec<String>>,
    repeated_because: Mutex<Option<String>>,
    has_warned: AtomicBool,
}

impl LoadCounts {
    /// Notes why a request is going to be repeated. The first reason is logged.
    pub(crate) fn note_repetition(&self, reason: String) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!("{reason}; each request is repeated with its key until it is answered");
        }
        *self.repeated_because.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// Has the reason of the next repetition logged again.
    pub fn warn_again(&self) {
        self.has_warned.store(false, Ordering::Relaxed);
    }

    /// Returns the reason of the last repetition.
    pub fn repeated_because(&self) -> Option<String> {
        self.repeated_because.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a request that failed.
    pub(crate) fn fail(&self, failure: String) {
        self.failed.inc();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < SHOWN {
            failures.push(failure);
        }
    }

    /// Returns the first failures.
    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The start of the time that a request took.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum MeasuredFrom {
    /// The time that the request was due at, however late it was sent: a slow API does not hide its slowness by holding up
    /// the requests behind.
    Schedule,
    /// The time that the user sent it at.
    Sending,
}

/// The counts of a load after a time.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct LoadReport {
    /// The run, a part of its keys.
    pub run: String,
    /// Requests, each with a key of its own.
    pub requests: u64,
    /// Requests that were answered with the id of their record.
    pub recorded: u64,
    /// Requests that were not answered before the end.
    pub unanswered: u64,
    /// Requests that were refused, or that were answered with two ids or none.
    pub failed: u64,
    /// HTTP requests, repetitions included.
    pub sent: u64,
    /// Answers that said that the request had been recorded before.
    pub replayed: u64,
    /// Requests that were repeated because there was no answer, or one that asks for it.
    pub repeated: u64,
    /// The reason of the last repetition.
    pub repeated_because: Option<String>,
    /// HTTP requests whose answer was not waited for.
    pub cut: u64,
    /// The time so far.
    pub elapsed_seconds: f64,
    /// Records per second.
    pub per_second: f64,
    /// The start of the times below.
    pub measured_from: MeasuredFrom,
    /// Median time to the answer, repetitions included.
    pub p50_seconds: f64,
    /// 90th percentile of the time to the answer.
    pub p90_seconds: f64,
    /// 99th percentile of the time to the answer.
    pub p99_seconds: f64,
    /// The longest time to an answer.
    pub max_seconds: f64,
    /// The first failures.
    pub failures: Vec<String>,
}

impl LoadReport {
    /// Returns the counts of a run after `elapsed`.
    pub fn of(run: &str, counts: &LoadCounts, measured_from: MeasuredFrom, elapsed: Duration) -> Self {
        let seconds = |share| counts.took.at(share).as_secs_f64();
        Self {
            run: run.to_owned(),
            requests: counts.requests.get(),
            recorded: counts.recorded.get(),
            unanswered: counts.unanswered.get(),
            failed: counts.failed.get(),
            sent: counts.sent.get(),
            replayed: counts.replayed.get(),
            repeated: counts.repeated.get(),
            repeated_because: counts.repeated_because(),
            cut: counts.cut.get(),
            elapsed_seconds: elapsed.as_secs_f64(),
            per_second: counts.recorded.get() as f64 / elapsed.as_secs_f64().max(0.001),
            measured_from,
            p50_seconds: seconds(0.5),
            p90_seconds: seconds(0.9),
            p99_seconds: seconds(0.99),
            max_seconds: seconds(1.0),
            failures: counts.failures(),
        }
    }

    /// Returns the number of requests that are not known to be recorded once.
    pub fn all_failures(&self) -> u64 {
        self.failed + self.unanswered
    }
}

impl std::fmt::Display for LoadReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} recorded,", self.recorded)?;
        let counts = [
            ("sent", self.sent),
            ("replayed", self.replayed),
            ("repeated", self.repeated),
            ("cut", self.cut),
            ("unanswered", self.unanswered),
            ("failed", self.failed),
        ];
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, " {count} {name},")?;
        }
        write!(f, " {:.1} s, {:.1}/s", self.elapsed_seconds, self.per_second)?;
        if self.recorded > 0 {
            write!(f, ", p50 {:.1} ms, p99 {:.1} ms", self.p50_seconds * 1e3, self.p99_seconds * 1e3)?;
        }
        Ok(())
    }
}
