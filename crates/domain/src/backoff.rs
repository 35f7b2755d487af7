//! Delays between attempts.

use std::time::Duration;

/// Full-jitter exponential backoff: a random share of `first · 2^attempt`, capped at `max`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    /// The backoff of a store or bus call that is retried in place: 50 ms to 5 s.
    pub const IN_PLACE: Self = Self { first: Duration::from_millis(50), max: Duration::from_secs(5) };

    /// Returns a backoff from `first` up to `max`; `None` where `first` is zero or above `max`.
    pub fn try_new(first: Duration, max: Duration) -> Option<Self> {
        (!first.is_zero() && first <= max).then_some(Self { first, max })
    }

    /// Returns the largest delay before retry number `attempt`; 0 is the first retry.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        self.first.saturating_mul(1u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(self.max)
    }

    /// Returns the delay before retry number `attempt`, given `entropy` in 0..1.
    pub fn delay(&self, attempt: u32, entropy: f64) -> Duration {
        self.ceiling(attempt).mul_f64(entropy.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_zero_or_falling_backoff_is_refused() {
        assert!(Backoff::try_new(Duration::ZERO, Duration::from_secs(1)).is_none());
        assert!(Backoff::try_new(Duration::from_secs(2), Duration::from_secs(1)).is_none());
    }

    proptest! {
        #[test]
        fn a_delay_never_exceeds_its_ceiling_and_ceilings_never_fall(attempt in 0u32..200, entropy in 0.0f64..1.0) {
            let backoff = Backoff::IN_PLACE;
            prop_assert!(backoff.delay(attempt, entropy) <= backoff.ceiling(attempt));
            prop_assert!(backoff.ceiling(attempt) <= backoff.ceiling(attempt + 1));
            prop_assert!(backoff.ceiling(attempt) <= Duration::from_secs(5));
        }
    }
}
