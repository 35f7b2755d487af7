//! How long orders wait.

use std::time::Duration;

/// How long orders wait in each state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OrderPolicy {
    /// The time in which an accepted order must be processed; after it the order is refused.
    pub accept_deadline: Duration,
    /// The time in which a placed order must be paid; after it the order is cancelled.
    pub payment_deadline: Duration,
    /// The time in which another payment may follow one that failed; zero cancels the order at once.
    pub payment_retry_window: Duration,
    /// The time after which another process resumes a payment whose process does not.
    pub resume_after: Duration,
    /// The time from paid to completed.
    pub completion_delay: Duration,
}

impl Default for OrderPolicy {
    fn default() -> Self {
        Self {
            accept_deadline: Duration::from_secs(3_600),
            payment_deadline: Duration::from_secs(15 * 60),
            payment_retry_window: Duration::ZERO,
            resume_after: Duration::from_secs(5 * 60),
            completion_delay: Duration::from_secs(50),
        }
    }
}
