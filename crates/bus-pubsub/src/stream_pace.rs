//! The pace at which a stream is reopened. The client library reopens a stream that fails after its headers at
//! once and for ever, inside `next()`. Before each attempt it asks for the credentials, in the task that calls
//! `next()`, and that is where the attempt waits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use google_cloud_auth::credentials::{CacheableResource, Credentials, CredentialsProvider};
use google_cloud_auth::errors::CredentialsError;
use http::{Extensions, HeaderMap};
use tokio::time::Instant;

use crate::stream_activity::StreamActivity;
use ecom_clock::Entropy;
use ecom_domain::backoff::Backoff;

/// The minimum delay before a stream is reopened.
pub(super) const MIN_DELAY: Duration = Duration::from_millis(100);
/// The maximum delay before a stream is reopened.
pub(super) const MAX_DELAY: Duration = Duration::from_secs(30);
/// The age of a stream that resets the backoff when it ends.
pub(super) const BACKOFF_RESET_AGE: Duration = Duration::from_secs(60);

tokio::task_local! {
    static PACE: StreamPace;
}

/// Returns the backoff before a stream is reopened.
pub(super) fn backoff() -> Backoff {
    Backoff::try_new(MIN_DELAY, MAX_DELAY).expect("0.1 s is above zero and below 30 s")
}

/// The pace of one stream.
pub(super) struct StreamPace {
    activity: Arc<StreamActivity>,
    entropy: Arc<Entropy>,
    last: Mutex<Option<Attempt>>,
}

/// An attempt to open the stream.
#[derive(Clone, Copy)]
struct Attempt {
    at: Instant,
    /// The number of deliveries before it.
    delivered: u64,
    /// The number of attempts before it that led to no delivery.
    failed: u32,
}

impl StreamPace {
    pub(super) fn new(activity: Arc<StreamActivity>, entropy: Arc<Entropy>) -> Self {
        Self { activity, entropy, last: Mutex::new(None) }
    }

    /// Paces the attempts to open a stream that the future makes.
    pub(super) async fn scope<F: Future>(self, future: F) -> F::Output {
        PACE.scope(self, future).await
    }

    /// Counts an attempt, and returns the delay before it.
    fn next_delay(&self, now: Instant) -> Duration {
        let delivered = self.activity.delivered();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = last
            .filter(|last| last.delivered == delivered && now.duration_since(last.at) < BACKOFF_RESET_AGE)
            .map(|last| last.failed + 1);
        let delay = failed.map_or(Duration::ZERO, |failed| {
            backoff().delay(failed - 1, self.entropy.share()).max(MIN_DELAY)
        });
        *last = Some(Attempt { at: now + delay, delivered, failed: failed.unwrap_or(0) });
        delay
    }
}

/// Credentials that let each attempt to open a stream wait for its turn. Other calls do not wait.
#[derive(Debug)]
pub(super) struct PacedCredentials(pub(super) Credentials);

impl CredentialsProvider for PacedCredentials {
    async fn headers(
        &self,
        extensions: Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        if let Ok(delay) = PACE.try_with(|pace| pace.next_delay(Instant::now())) {
            tokio::time::sleep(delay).await;
        }
        self.0.headers(extensions).await
    }

    async fn universe_domain(&self) -> Option<String> {
        self.0.universe_domain().await
    }
}

#[cfg(test)]
mod tests {
    use google_cloud_auth::credentials::anonymous;

    use super::*;
    use crate::stream_activity::OutstandingDelivery;

    async fn delay(credentials: &PacedCredentials) -> Duration {
        let before = Instant::now();
        credentials.headers(Extensions::new()).await.unwrap();
        before.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn only_attempts_that_lead_to_no_delivery_wait_and_ever_longer() {
        let credentials = PacedCredentials(anonymous::Builder::new().build());
        let activity = Arc::new(StreamActivity::new());
        let pace = StreamPace::new(activity.clone(), Arc::new(Entropy::system()));
        pace.scope(async {
            assert_eq!(delay(&credentials).await, Duration::ZERO);
            let started = Instant::now();
            for _ in 0..9 {
                assert!(delay(&credentials).await >= MIN_DELAY);
            }
            assert!(started.elapsed() >= 9 * MIN_DELAY);
            drop(OutstandingDelivery::new(&activity));
            assert_eq!(delay(&credentials).await, Duration::ZERO);
            tokio::time::advance(BACKOFF_RESET_AGE).await;
            assert_eq!(delay(&credentials).await, Duration::ZERO);
        })
        .await;
        assert_eq!(delay(&credentials).await, Duration::ZERO);
    }
}
