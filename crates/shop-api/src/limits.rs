//! The rate of each account.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use super::auth::{Caller, Keys};
use super::problem::{Problem, ProblemCode};
use super::settings::ApiSettings;

/// The header that says how many requests an account may send at once, and how long it takes until it may again.
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The header that says how many requests an account may send at once now, and how long until all of them.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

type AccountLimiter =
    RateLimiter<Arc<str>, DefaultKeyedStateStore<Arc<str>>, DefaultClock, StateInformationMiddleware>;

/// The rate limits of accounts; none where no key is required.
pub(crate) struct RateLimits(Option<Limits>);

struct Limits {
    limiter: AccountLimiter,
    rate: u32,
    burst: u32,
}

impl RateLimits {
    /// Creates the limits of the settings.
    pub(crate) fn new(keys: &Keys, settings: &ApiSettings) -> Self {
        let number = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let (rate, burst) = (number(settings.rate), number(settings.burst));
        let quota = Quota::per_second(rate).allow_burst(burst);
        match keys {
            Keys::NotRequired => Self(None),
            Keys::File(_) => Self(Some(Limits {
                limiter: RateLimiter::keyed(quota).with_middleware(),
                rate: rate.get(),
                burst: burst.get(),
            })),
        }
    }

    /// Counts a request of a caller. Returns the headers that tell the caller what is left, as of
    /// draft-ietf-httpapi-ratelimit-headers, and whether the request is admitted.
    pub(crate) fn admit(&self, caller: &Caller) -> (HeaderMap, Result<(), Problem>) {
        let Some(limits) = &self.0 else { return (HeaderMap::new(), Ok(())) };
        match limits.limiter.check_key(&caller.account) {
            Ok(state) => {
                let left = state.remaining_burst_capacity();
                let until_all = (limits.burst.saturating_sub(left)).div_ceil(limits.rate);
                (limits.headers(left, until_all.into()), Ok(()))
            }
            Err(until) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
                let seconds = (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1);
                let problem =
                    Problem { retry_after: Some(seconds), ..Problem::new(ProblemCode::RateLimited) };
                (limits.headers(0, seconds), Err(problem))
            }
        }
    }
}

impl Limits {
    fn headers(&self, left: u32, seconds: u64) -> HeaderMap {
        let (burst, window) = (self.burst, self.burst.div_ceil(self.rate));
        let texts = [
            (RATE_LIMIT_POLICY, format!("\"account\";q={burst};w={window}")),
            (RATE_LIMIT, format!("\"account\";r={left};t={seconds}")),
        ];
        texts
            .into_iter()
            .filter_map(|(name, text)| Some((name, HeaderValue::from_str(&text).ok()?)))
            .collect()
    }
}
