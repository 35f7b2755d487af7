//! The conditions under which a consumer ends by itself.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::delivery_counts::DeliveryCounts;
use ecom_bus::{Backlog, Subscription};

/// Conditions that end a run without a stop signal; the default has none.
#[derive(Clone, Copy, Default, Debug)]
pub struct StopConditions {
    /// After this many deliveries.
    pub count: Option<u64>,
    /// After this long.
    pub duration: Option<Duration>,
    /// After this long without a delivery, unless the bus reports a backlog.
    pub idle: Option<Duration>,
}

impl StopConditions {
    /// Cancels `stop` once the run has lasted long enough or has been idle for long enough.
    pub(super) async fn watch(
        self,
        counts: &DeliveryCounts,
        subscription: &Subscription,
        stop: &CancellationToken,
    ) {
        let ends = self.duration.map(|duration| Instant::now() + duration);
        let Some(shortest) = self.idle.into_iter().chain(self.duration).min() else { return };
        let interval = (shortest / 10).clamp(Duration::from_millis(5), Duration::from_secs(1));
        let (mut received, mut since) = (counts.received(), Instant::now());
        while !stop.is_cancelled() {
            tokio::time::sleep(interval).await;
            if counts.received() != received || counts.in_flight() > 0 {
                (received, since) = (counts.received(), Instant::now());
            }
            let is_silent = self.idle.is_some_and(|idle| since.elapsed() >= idle);
            // On a starved host silence alone proves nothing: a message may be on its way.
            let is_idle = is_silent && subscription.backlog().await != Backlog::Left;
            if is_idle || ends.is_some_and(|ends| Instant::now() >= ends) {
                stop.cancel();
            }
        }
    }
}
