//! The activity of one stream, to detect a connection that died unnoticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The time of a stream's last delivery, ack or nack, and the number of its outstanding deliveries.
#[derive(Debug)]
pub(super) struct StreamActivity {
    opened_at: Instant,
    last_ms: AtomicU64,
    outstanding: AtomicUsize,
    delivered: AtomicU64,
}

impl StreamActivity {
    pub(super) fn new() -> Self {
        Self {
            opened_at: Instant::now(),
            last_ms: AtomicU64::new(0),
            outstanding: AtomicUsize::new(0),
            delivered: AtomicU64::new(0),
        }
    }

    /// Returns the number of deliveries so far.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Returns the time since the stream was opened.
    pub(super) fn age(&self) -> Duration {
        self.opened_at.elapsed()
    }

    /// Waits until the stream was silent for `limit` without an outstanding delivery. With outstanding
    /// deliveries, silence is normal: the service may be waiting for acks.
    pub(super) async fn silent_for(&self, limit: Duration) {
        loop {
            let last = self.opened_at + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            if self.outstanding.load(Ordering::Acquire) > 0 {
                tokio::time::sleep(limit).await;
            } else if last.elapsed() < limit {
                tokio::time::sleep_until(last + limit).await;
            } else {
                return;
            }
        }
    }

    fn touch(&self) {
        let now = u64::try_from(self.opened_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }
}

/// A guard for one outstanding delivery. Creating and dropping it are activity.
#[derive(Debug)]
pub(super) struct OutstandingDelivery(Arc<StreamActivity>);

impl OutstandingDelivery {
    pub(super) fn new(activity: &Arc<StreamActivity>) -> Self {
        activity.touch();
        activity.outstanding.fetch_add(1, Ordering::AcqRel);
        activity.delivered.fetch_add(1, Ordering::Relaxed);
        Self(activity.clone())
    }
}

impl Drop for OutstandingDelivery {
    fn drop(&mut self) {
        self.0.touch();
        self.0.outstanding.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_measured_from_the_last_ack() {
        let activity = Arc::new(StreamActivity::new());
        tokio::time::advance(Duration::from_secs(50)).await;
        drop(OutstandingDelivery::new(&activity));
        let before = Instant::now();
        activity.silent_for(Duration::from_secs(60)).await;
        assert_eq!(before.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_with_an_outstanding_delivery_is_not_silent() {
        let activity = Arc::new(StreamActivity::new());
        let outstanding = OutstandingDelivery::new(&activity);
        let silence = activity.silent_for(Duration::from_secs(60));
        assert!(tokio::time::timeout(Duration::from_secs(600), silence).await.is_err());
        drop(outstanding);
        let before = Instant::now();
        activity.silent_for(Duration::from_secs(60)).await;
        assert_eq!(before.elapsed().as_secs(), 60);
    }
}
