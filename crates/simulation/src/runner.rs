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
    /// The rule that was violated.
    pub message: String,
}

/// The result of many schedules.
#[derive(Default, Debug)]
pub struct Report {
    /// Schedules that ran.
    pub schedules: u64,
    /// The number of events of each kind in all of them.
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

/// Calls `work` with each number below `count`, on every processor, until it returns false.
pub fn in_parallel(count: u64, work: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(0);
    let worker =
        || while Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < count).is_some_and(&work) {};
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(worker);
        }
    });
}

/// Runs the schedules of `count` seeds from `first` on. Stops after `most` violations.
#[expect(clippy::disallowed_methods, reason = "the time that schedules take is real")]
pub fn run(first: u64, count: u64, most: usize) -> Report {
    let started = Instant::now();
    let report = Mutex::new(Report::default());
    in_parallel(count, |number| {
        let seed = first.saturating_add(number);
        let result = checked(schedules::run(seed, None));
        let mut report = report.lock().expect("no holder panics");
        report.schedules += 1;
        match result {
            Ok(events) => {
                events.into_iter().for_each(|(event, n)| *report.events.entry(event).or_default() += n)
            }
            Err(message) => report.violations.push(Violation { seed, message }),
        }
        report.violations.len() < most
    });
    let mut report = report.into_inner().expect("no holder panics");
    report.violations.sort();
    report.elapsed = started.elapsed();
    report
}
