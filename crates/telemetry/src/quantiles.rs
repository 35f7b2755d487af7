//! Quantiles in constant memory: counts in buckets of about 3 %, an exponential histogram.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets between a duration and its double: a quantile is at most a 32nd above the truth.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Longer durations count as this one: ten years.
const LONGEST: u64 = Duration::from_secs(10 * 365 * 24 * 60 * 60).as_micros() as u64;

/// Quantiles of durations, from microseconds to years. 12 KiB; an observation is one relaxed addition.
#[derive(Debug)]
pub struct Quantiles(Box<[AtomicU64]>);

impl Default for Quantiles {
    fn default() -> Self {
        Self::new()
    }
}

impl Quantiles {
    /// No durations yet.
    pub fn new() -> Self {
        Self((0..=bucket(LONGEST)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Adds a duration.
    pub fn observe(&self, took: Duration) {
        self.0[bucket(whole_micros(took).min(LONGEST))].fetch_add(1, Ordering::Relaxed);
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// A duration that this share (0 to 1) of them did not exceed: never below the truth, and at most a 32nd
    /// above it. Zero without any.
    pub fn at(&self, share: f64) -> Duration {
        let counts: Vec<u64> = self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let wanted = (counts.iter().sum::<u64>() as f64 * share).ceil().max(1.0);
        let mut seen = 0;
        let reached = counts.iter().position(|count| {
            seen += count;
            seen as f64 >= wanted
        });
        Duration::from_micros(reached.map_or(0, longest_of))
    }
}

/// The bucket of a number of microseconds. The first buckets are a microsecond wide.
fn bucket(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let doublings = micros.ilog2() - STEP_BITS;
    (u64::from(doublings) * STEPS + (micros >> doublings)) as usize
}

/// The most microseconds in a bucket.
fn longest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let doublings = bucket / STEPS - 1;
    ((STEPS + bucket % STEPS + 1) << doublings) - 1
}

/// A duration in whole microseconds.
pub(crate) fn whole_micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_of_nothing_are_zero() {
        assert_eq!(Quantiles::new().at(0.99), Duration::ZERO);
    }

    #[test]
    fn quantiles_of_a_known_run_are_what_they_must_be() {
        let quantiles = Quantiles::new();
        for micros in 1..=1_000 {
            quantiles.observe(Duration::from_micros(micros));
        }
        for (share, least) in [(0.0, 1), (0.5, 500), (0.99, 990), (1.0, 1_000)] {
            let found = quantiles.at(share).as_micros();
            assert!((least..=least + least / 32 + 1).contains(&found), "{share}: {found}");
        }
    }

    proptest! {
        #[test]
        fn a_quantile_is_never_below_the_truth_and_at_most_a_32nd_above(micros in 0..=LONGEST) {
            let quantiles = Quantiles::new();
            quantiles.observe(Duration::from_micros(micros));
            let found = quantiles.at(0.5).as_micros() as u64;
            prop_assert!(micros <= found && found <= micros + micros / STEPS, "{found} of {micros}");
        }
    }
}
