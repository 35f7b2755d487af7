//! The policy by which dead letters are retried, parked and removed.

use std::time::Duration;

use ecom_clock::micros;
use ecom_domain::backoff::Backoff;
use ecom_domain::dead_letter::DeadLetterRecord;
use ecom_domain::mutant::{Mutant, is_active};
use ecom_domain::reason::Reason;

/// The retry policy of a dead-letter handler.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The delays between attempts; the first ceiling is the delay before the first attempt.
    pub backoff: Backoff,
    /// A dead letter that still waits this long after its first failure is parked.
    pub max_age: Duration,
    /// The time between two sweeps over all dead letters.
    pub sweep_interval: Duration,
    /// Resolved dead letters are removed this long after they were resolved.
    pub retention: Duration,
    /// The most waiting dead letters scheduled at a time; the others stay in the dead-letter store until these
    /// are done.
    pub capacity: usize,
}

impl RetryPolicy {
    /// The usual capacity, about 10 MB.
    pub const CAPACITY: usize = 50_000;

    /// Returns the time at which a waiting dead letter is due, in microseconds since the epoch. One without a
    /// schedule has not been attempted yet. `None` = at once: a time later than the longest backoff was set by a
    /// clock that was ahead.
    pub fn due(&self, record: &DeadLetterRecord, now: i64) -> Option<i64> {
        let first = || waiting_since(record).saturating_add(micros(self.backoff.ceiling(0)));
        let due = record.progress.next_attempt_at.unwrap_or_else(first);
        let is_plausible = due.saturating_sub(now) <= micros(self.backoff.ceiling(u32::MAX));
        (is_plausible || is_active(Mutant::FastClockSchedules)).then_some(due)
    }
}

/// The time since which a dead letter has been waiting, microseconds since the epoch: its first failure, or
/// the time it was reopened.
pub fn waiting_since(record: &DeadLetterRecord) -> i64 {
    let reopened = record.progress.state_at.filter(|_| record.progress.generation > 0);
    reopened.map_or(record.dead_letter.first_failed_at, |at| at.max(record.dead_letter.first_failed_at))
}

/// Returns true when a parked dead letter of this reason is applied without an operator, once its order is
/// there.
pub fn applies_automatically(reason: Reason) -> bool {
    match reason {
        Reason::OrderNotFound | Reason::TimestampTie => true,
        Reason::Undecodable | Reason::Invalid | Reason::PanDetected | Reason::HandlerFailed => false,
    }
}
