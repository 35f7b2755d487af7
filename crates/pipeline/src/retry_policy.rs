//! The policy by which dead letters are retried, parked and removed.

use std::time::Duration;

use ecom_domain::backoff::Backoff;

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
}
