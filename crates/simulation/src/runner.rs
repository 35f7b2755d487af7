//! Running many schedules, on every processor, each on a runtime of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::schedules::{self, EventCounts};

/// A schedule that violated a rule.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Violation {
    /// The seed, which replays it.
    pub seed: u64,
    /// What was wrong.
    pub message: String,
}

/// The result of many schedules.
#[derive(Default, Debug)]
pub struct Report {
    /// Schedules that ran.
    pub schedules: u64,
    /// How often each kind of event happened in all of them.
    pub events: EventCounts,
    /// The schedules that violated a rule.
    pub violations: Vec<Violation>,
    /// The time that they took.
    pub elapsed: Duration,
}

/// Runs a future on a runtime whose time passes only while it waits.
pub fn on_paused_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O can be built").block_on(Box::pin(future))
}

/// Runs a future on paused time; returns the message of its panic.
///
/// # Errors
/// It panicked: a rule was violated.
pub fn checked<T>(future: impl Future<Output = T>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(|| on_paused_time(future))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "a panic without a message".to_owned())
    })
}

/// Runs the schedules of `count` seeds from `first` on. Stops after `most` violations.
#[expect(clippy::disallowed_methods, reason = "the time that schedules take is real")]
pub fn run(first: u64, count: u64, most: usize) -> Report {
    let started = Instant::now();
    let (next, end) = (AtomicU64::new(first), first.saturating_add(count));
    let report = Mutex::new(Report::default());
    let work = || {
        let mut events = EventCounts::new();
        let mut schedules = 0;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end || lock(&report).violations.len() >= most {
                break;
            }
            match checked(schedules::run(seed, None)) {
                Ok(counts) => {
                    counts.into_iter().for_each(|(event, n)| *events.entry(event).or_default() += n)
                }
                Err(message) => lock(&report).violations.push(Violation { seed, message }),
            }
            schedules += 1;
        }
        let mut report = lock(&report);
        report.schedules += schedules;
        for (event, count) in events {
            *report.events.entry(event).or_default() += count;
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut report = report.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report.violations.sort();
    report.elapsed = started.elapsed();
    report
}

fn lock(report: &Mutex<Report>) -> std::sync::MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
