//! Durations counted with a few relaxed additions each: no lock, no allocation, whoever looks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts by upper bound, as a scraper wants them.
#[derive(Debug)]
pub(super) struct Durations {
    /// Upper bounds in seconds, ascending.
    bounds: &'static [f64],
    /// One more than bounds: the last has none.
    counts: Box<[AtomicU64]>,
    micros: AtomicU64,
}

impl Durations {
    /// Counts nothing yet.
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, micros: AtomicU64::new(0) }
    }

    /// Counts one.
    pub(super) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(whole_micros(took), Ordering::Relaxed);
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Their sum in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.micros.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// Upper bounds, the last one infinite, each with the number of those above the bound before it.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed))).collect()
    }
}

/// Steps between a duration and its double: a quantile is at most a 32nd above the truth.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// The longest that is told apart: longer ones count as this.
const LONGEST: u64 = Duration::from_secs(24 * 60 * 60).as_micros() as u64;

/// Counts by steps of about 3 %, for the quantiles of a run's summary.
#[derive(Debug)]
pub(super) struct Quantiles(Box<[AtomicU64]>);

impl Quantiles {
    /// Counts nothing yet.
    pub(super) fn new() -> Self {
        Self((0..=step(LONGEST)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Counts one.
    pub(super) fn observe(&self, took: Duration) {
        self.0[step(whole_micros(took).min(LONGEST))].fetch_add(1, Ordering::Relaxed);
    }

    /// A duration that this share of them did not exceed; zero where there were none.
    pub(super) fn at(&self, share: f64) -> Duration {
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

/// Which step a number of microseconds is counted in. The first ones are a microsecond wide.
fn step(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let doublings = micros.ilog2() - STEP_BITS;
    (u64::from(doublings) * STEPS + (micros >> doublings)) as usize
}

/// The most microseconds a step counts.
fn longest_of(step: usize) -> u64 {
    let step = step as u64;
    if step < STEPS {
        return step;
    }
    let doublings = step / STEPS - 1;
    ((STEPS + step % STEPS + 1) << doublings) - 1
}

fn whole_micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_holds_it() {
        let durations = Durations::new(&[0.001, 1.0]);
        for micros in [0, 1_000, 1_001, 1_000_000, 1_000_001, 90_000_000] {
            durations.observe(Duration::from_micros(micros));
        }
        assert_eq!(durations.buckets(), [(0.001, 2), (1.0, 2), (f64::INFINITY, 2)]);
        assert_eq!(durations.count(), 6);
        assert!((durations.seconds() - 92.002_002).abs() < 1e-9, "{}", durations.seconds());
    }

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
