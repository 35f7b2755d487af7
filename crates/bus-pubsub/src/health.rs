//! Whether the bus answers a subscription: what its streams' supervisors noticed, and a question of
//! its own in a while, for the client reopens streams through an outage without a word.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use google_cloud_pubsub::client::SubscriptionAdmin;
use tokio_util::sync::CancellationToken;

use super::connect::Access;
use super::failure::Failure;

/// Between two questions: six a minute of the 6,000 that a project has.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// Between two questions while there is no answer.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// What is known about the streams of one subscription.
#[derive(Debug)]
pub(super) struct Health {
    streams: AtomicUsize,
    troubled: AtomicUsize,
    answered: AtomicBool,
}

impl Health {
    /// Well, until something else is noticed.
    pub(super) fn new() -> Self {
        Self { streams: AtomicUsize::new(0), troubled: AtomicUsize::new(0), answered: AtomicBool::new(true) }
    }

    /// Whether the last question was answered and not every stream is in trouble.
    pub(super) fn answers(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
            && self.troubled.load(Ordering::Relaxed) < self.streams.load(Ordering::Relaxed).max(1)
    }

    /// Notes one stream more.
    pub(super) fn opened(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a stream in trouble, until the note is dropped.
    pub(super) fn trouble(self: &Arc<Self>) -> Troubled {
        self.troubled.fetch_add(1, Ordering::Relaxed);
        Troubled(self.clone())
    }

    /// Asks for the subscription again and again, until stopped.
    pub(super) async fn ask(
        self: Arc<Self>,
        access: Arc<Access>,
        subscription: String,
        stop: CancellationToken,
    ) {
        let asking = async {
            let mut asked = None;
            loop {
                let answered = self.answered.load(Ordering::Relaxed);
                tokio::time::sleep(if answered { ASK_EVERY } else { ASK_AGAIN }).await;
                let answer = question(&access, &mut asked, &subscription).await;
                self.answered.store(answer, Ordering::Relaxed);
                if !answer {
                    // The next one on a new connection: this one may have died unnoticed.
                    asked = None;
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = asking => {}
        }
    }
}

/// One stream in trouble.
#[derive(Debug)]
pub(super) struct Troubled(Arc<Health>);

impl Drop for Troubled {
    fn drop(&mut self) {
        self.0.troubled.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn question(access: &Access, asked: &mut Option<SubscriptionAdmin>, subscription: &str) -> bool {
    if asked.is_none() {
        *asked = access.subscriptions().await.ok();
    }
    let Some(admin) = asked else { return false };
    match admin.get_subscription().set_subscription(subscription).send().await {
        Ok(_) => true,
        Err(error) => match Failure::of(&error) {
            // A subscriber need not be a viewer: that it may not look is an answer.
            Failure::Denied => true,
            Failure::Missing | Failure::Refused | Failure::Outage => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_good_stream_is_enough_and_none_is_not() {
        let health = Arc::new(Health::new());
        health.opened();
        health.opened();
        assert!(health.answers());
        let first = health.trouble();
        assert!(health.answers());
        let second = health.trouble();
        assert!(!health.answers());
        drop(first);
        assert!(health.answers());
        health.answered.store(false, Ordering::Relaxed);
        assert!(!health.answers(), "a question without an answer");
        drop(second);
    }
}
