//! The fate of a dead letter that is left to a running handler.

use ecom_clock::micros;
use ecom_domain::dead_letter::{DeadLetterRecord, DeadLetterState};
use ecom_domain::verdict::Verdict;
use ecom_pipeline::retry_policy::applies_automatically;
use ecom_pipeline::retry_policy::{RetryPolicy, waiting_since};
use ecom_pipeline::sweep::needs_an_operator;

/// The fate of a dead letter without a human's action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forecast {
    /// The handler resolves it.
    Closes {
        /// The latest time, microseconds since the epoch.
        by: i64,
    },
    /// The handler resolves it once its order is recorded.
    Waits {
        /// The time when the handler parks it and only sweeps look at it, microseconds since the epoch; `None` if it
        /// is parked already.
        parks_at: Option<i64>,
    },
    /// It stays open until a human acts.
    Stays,
}

/// The fate of a dead letter with this verdict, as of `now` (microseconds since the epoch).
pub fn forecast(record: &DeadLetterRecord, verdict: Verdict, policy: &RetryPolicy, now: i64) -> Forecast {
    let state = record.state();
    let reason = record.dead_letter.reason;
    let (is_looked_at, is_applied) = match state {
        DeadLetterState::Waiting => (true, true),
        DeadLetterState::Parked => (!needs_an_operator(reason), applies_automatically(reason)),
        DeadLetterState::Discarded | DeadLetterState::Recovered => (false, false),
    };
    match verdict {
        _ if !is_looked_at => Forecast::Stays,
        Verdict::Conflict | Verdict::Poison => Forecast::Stays,
        Verdict::AppliesNow | Verdict::StillWaiting if !is_applied => Forecast::Stays,
        Verdict::StillWaiting => Forecast::Waits {
            parks_at: (state == DeadLetterState::Waiting)
                .then(|| waiting_since(record).saturating_add(micros(policy.max_age)).max(now)),
        },
        Verdict::AppliesNow | Verdict::AlreadyApplied | Verdict::Superseded => {
            Forecast::Closes { by: next_look(record, policy, now) }
        }
    }
}

/// Returns true for a dead letter that was reopened and not attempted since.
fn is_reopened_unattempted(record: &DeadLetterRecord) -> bool {
    let progress = &record.progress;
    progress.generation > 0 && progress.next_attempt_at < progress.state_at
}

/// The latest time of the handler's next look at an open dead letter.
fn next_look(record: &DeadLetterRecord, policy: &RetryPolicy, now: i64) -> i64 {
    let within = |most| now.saturating_add(micros(most));
    match record.state() {
        // The handler's schedule does not have one that was reopened until it reads the dead-letter store again.
        DeadLetterState::Waiting if is_reopened_unattempted(record) => within(policy.sweep_interval),
        DeadLetterState::Waiting => {
            let (first, last) = (policy.backoff.ceiling(0), policy.backoff.ceiling(u32::MAX));
            policy.due(record, now).unwrap_or(now).clamp(within(first), within(last))
        }
        DeadLetterState::Parked | DeadLetterState::Discarded | DeadLetterState::Recovered => {
            within(policy.sweep_interval)
        }
    }
}
