//! What becomes of a letter if nobody does anything, as long as a handler runs.

use ecom_clock::micros;
use ecom_domain::letter::{LetterRecord, State};
use ecom_domain::verdict::Verdict;
use ecom_pipeline::retries::RetryPolicy;
use ecom_pipeline::settler::{applies_by_itself, waits_since};
use ecom_pipeline::sweep::is_for_a_human;

/// What becomes of a letter by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outlook {
    /// The handler closes it, by this time at the latest, microseconds since the epoch.
    Closes {
        /// When.
        by: i64,
    },
    /// The handler closes it once its order is there.
    Waits {
        /// When it stops being retried and is only looked at in sweeps; `None` where it has.
        parks_at: Option<i64>,
    },
    /// Nothing: a human must act.
    Stays,
}

/// What becomes of a letter with this verdict by itself.
pub fn outlook(record: &LetterRecord, verdict: Verdict, policy: &RetryPolicy, now: i64) -> Outlook {
    let state = record.state();
    let reason = record.letter.reason;
    let (is_looked_at, is_applied) = match state {
        State::Waiting => (true, true),
        State::Parked => (!is_for_a_human(reason), applies_by_itself(reason)),
        State::Discarded | State::Recovered => (false, false),
    };
    match verdict {
        _ if !is_looked_at => Outlook::Stays,
        Verdict::Conflict | Verdict::Poison => Outlook::Stays,
        Verdict::AppliesNow | Verdict::StillWaiting if !is_applied => Outlook::Stays,
        Verdict::StillWaiting => Outlook::Waits {
            parks_at: (state == State::Waiting)
                .then(|| waits_since(record).saturating_add(micros(policy.max_age)).max(now)),
        },
        Verdict::AppliesNow | Verdict::AlreadyApplied | Verdict::Superseded => {
            Outlook::Closes { by: next_look(record, policy, now) }
        }
    }
}

/// When the handler looks at an open letter next, at the latest.
fn next_look(record: &LetterRecord, policy: &RetryPolicy, now: i64) -> i64 {
    let within = |most| now.saturating_add(micros(most));
    match (record.state(), record.progress.next_attempt_at) {
        // The handler does not believe times that are further away than its own schedule goes.
        (State::Waiting, Some(due)) => due.clamp(now, within(policy.backoff.ceiling(u32::MAX))),
        (State::Waiting, None) => within(policy.backoff.ceiling(0)),
        (State::Parked | State::Discarded | State::Recovered, _) => within(policy.sweep_interval),
    }
}
