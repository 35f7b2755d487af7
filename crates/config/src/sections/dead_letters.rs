//! `[dead_letters]`: retries and retention of dead letters.

use std::time::Duration;

use serde::Deserialize;

use super::super::checks::Checks;
use super::super::fields::{DAY, MS, SECOND, duration};

/// Retries and retention of dead letters.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLettersConfig {
    /// Wait before the first retry of a waiting dead letter, 1 ms to `max_backoff`; 1 s by default.
    #[serde(deserialize_with = "duration::<_, MS, { 7 * DAY }>")]
    pub first_retry: Duration,
    /// Longest wait between two retries, 1 ms to 7 d; 10 min by default.
    #[serde(deserialize_with = "duration::<_, MS, { 7 * DAY }>")]
    pub max_backoff: Duration,
    /// Age at which a waiting dead letter is parked, 1 ms to 366 d; 7 d by default.
    #[serde(deserialize_with = "duration::<_, MS, { 366 * DAY }>")]
    pub max_age: Duration,
    /// Interval of checking parked dead letters again, 1 ms to 7 d; 1 h by default.
    #[serde(deserialize_with = "duration::<_, MS, { 7 * DAY }>")]
    pub sweep_interval: Duration,
    /// Retention of resolved dead letters, 1 s to 3,660 d; 90 d by default.
    #[serde(deserialize_with = "duration::<_, SECOND, { 3660 * DAY }>")]
    pub retention: Duration,
}

impl DeadLettersConfig {
    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        if self.first_retry > self.max_backoff {
            let [first, max] = [self.first_retry, self.max_backoff].map(humantime::format_duration);
            checks.fault(
                &["dead_letters.first_retry", "dead_letters.max_backoff"],
                &format!("must not exceed dead_letters.max_backoff, is {first} above {max}"),
            );
        }
    }
}
