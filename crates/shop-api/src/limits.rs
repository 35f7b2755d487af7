//! The rate of each account.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use super::auth::{Caller, Keys};
use super::problem::{Problem, ProblemCode};
use super::settings::ApiSettings;

/// The rate limits of accounts; none where no key is required.
pub(crate) struct RateLimits(Option<DefaultKeyedRateLimiter<Arc<str>>>);

impl RateLimits {
    /// Creates the limits of the settings.
    pub(crate) fn new(keys: &Keys, settings: &ApiSettings) -> Self {
        let number = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(number(settings.rate)).allow_burst(number(settings.burst));
        match keys {
            Keys::NotRequired => Self(None),
            Keys::File(_) => Self(Some(DefaultKeyedRateLimiter::keyed(quota))),
        }
    }

    /// Counts a request of a caller.
    pub(crate) fn admit(&self, caller: &Caller) -> Result<(), Problem> {
        let Some(limits) = &self.0 else { return Ok(()) };
        limits.check_key(&caller.account).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Problem { retry_after: Some(seconds.max(1)), ..Problem::new(ProblemCode::RateLimited) }
        })
    }
}
