//! The health of a subscription: what the supervisors of its streams report, and a periodic request, because
//! the client library reopens streams through an outage without reporting it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use google_cloud_pubsub::client::SubscriptionAdmin;
use tokio_util::sync::CancellationToken;

use crate::clients::ClientFactory;
use crate::error::ErrorClass;

/// The interval of requests while they are answered: 6 a minute, of the 6,000 that a project may send.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// The interval of requests while they are not answered.
const PROBE_INTERVAL_UNANSWERED: Duration = Duration::from_secs(2);

/// The health of one subscription.
#[derive(Debug)]
pub(super) struct SubscriptionHealth {
    streams: AtomicUsize,
    unhealthy: AtomicUsize,
    answered: AtomicBool,
}

impl SubscriptionHealth {
    /// Creates the state of a subscription that answers.
    pub(super) fn new() -> Self {
        Self { streams: AtomicUsize::new(0), unhealthy: AtomicUsize::new(0), answered: AtomicBool::new(true) }
    }

    /// Returns whether the last request was answered and at least one stream is healthy.
    pub(super) fn answers(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
            && self.unhealthy.load(Ordering::Relaxed) < self.streams.load(Ordering::Relaxed).max(1)
    }

    /// Counts one more stream.
    pub(super) fn stream_opened(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a stream as unhealthy until the guard is dropped.
    pub(super) fn mark_unhealthy(self: &Arc<Self>) -> UnhealthyStream {
        self.unhealthy.fetch_add(1, Ordering::Relaxed);
        UnhealthyStream(self.clone())
    }

    /// Requests the subscription periodically, until stopped.
    pub(super) async fn probe(
        self: Arc<Self>,
        clients: Arc<ClientFactory>,
        subscription: String,
        stop: CancellationToken,
    ) {
        let probing = async {
            let mut admin = None;
            loop {
                let answered = self.answered.load(Ordering::Relaxed);
                tokio::time::sleep(if answered { PROBE_INTERVAL } else { PROBE_INTERVAL_UNANSWERED }).await;
                let answer = is_answered(&clients, &mut admin, &subscription).await;
                self.answered.store(answer, Ordering::Relaxed);
                if !answer {
                    // The connection may have died unnoticed: use a new one next.
                    admin = None;
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = probing => {}
        }
    }
}

/// A guard for an unhealthy stream.
#[derive(Debug)]
pub(super) struct UnhealthyStream(Arc<SubscriptionHealth>);

impl Drop for UnhealthyStream {
    fn drop(&mut self) {
        self.0.unhealthy.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn is_answered(
    clients: &ClientFactory,
    admin: &mut Option<SubscriptionAdmin>,
    subscription: &str,
) -> bool {
    if admin.is_none() {
        *admin = clients.subscriptions().await.ok();
    }
    let Some(admin) = admin else { return false };
    match admin.get_subscription().set_subscription(subscription).send().await {
        Ok(_) => true,
        Err(error) => match ErrorClass::of(&error) {
            // A subscriber need not be a viewer: a denied permission is an answer.
            ErrorClass::Denied => true,
            ErrorClass::Missing | ErrorClass::Refused | ErrorClass::Outage => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_healthy_stream_is_enough_and_an_unanswered_request_is_not() {
        let health = Arc::new(SubscriptionHealth::new());
        health.stream_opened();
        health.stream_opened();
        assert!(health.answers());
        let first = health.mark_unhealthy();
        assert!(health.answers());
        let second = health.mark_unhealthy();
        assert!(!health.answers());
        drop(first);
        assert!(health.answers());
        health.answered.store(false, Ordering::Relaxed);
        assert!(!health.answers(), "an unanswered request");
        drop(second);
    }
}
