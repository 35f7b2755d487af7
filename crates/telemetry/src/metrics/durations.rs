//! Histograms of durations: an observation is a few relaxed additions, without a lock or an allocation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::quantiles::whole_micros;

/// A histogram with fixed bucket bounds, for scrapers.
#[derive(Debug)]
pub(super) struct Durations {
    /// Upper bounds in seconds, ascending.
    bounds: &'static [f64],
    /// One count more than bounds: the last bucket is unbounded.
    counts: Box<[AtomicU64]>,
    micros: AtomicU64,
}

impl Durations {
    /// An empty histogram.
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, micros: AtomicU64::new(0) }
    }

    /// Adds a duration.
    pub(super) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(whole_micros(took), Ordering::Relaxed);
    }

    /// The number of durations.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Their sum in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.micros.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// Upper bounds, the last one infinite, each with the number of durations above the bound before it.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed))).collect()
    }
}

#[cfg(test)]
mod tests {
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
}
