//! The consumer's own counters, which its concurrency limit and its stop conditions read. Metrics only
//! observe.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Counts the deliveries of one run of a consumer.
#[derive(Default, Debug)]
pub(super) struct DeliveryCounts {
    received: AtomicU64,
    acked: AtomicU64,
    in_flight: AtomicUsize,
}

impl DeliveryCounts {
    /// Counts a delivery that was taken.
    pub(super) fn start(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an ack.
    pub(super) fn ack(&self) {
        self.acked.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a nack.
    pub(super) fn nack(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Deliveries taken so far.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Deliveries acked so far.
    pub(super) fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Deliveries being processed or in the early-payment buffer.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}
