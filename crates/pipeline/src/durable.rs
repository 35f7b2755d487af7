//! Repeating a call in place until it definitely succeeded. An outage is never a reason to settle
//! a message: it is waited out here, with the same values and the same T.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use ecom_bus::{Message, PublishError, Publisher};
use ecom_clock::Entropy;
use ecom_domain::backoff::Backoff;
use ecom_domain::fact::PaymentSlot;
use ecom_store::StoreError;
use ecom_telemetry::metrics::{Answer, Calls, RoleMetrics, StoreOperation, Topic};

/// At most one warning about an outage in this time.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Proof that an effect is durable. Minted only here: by a definite success, a resolved receipt,
/// or evidence read from the store.
#[derive(Debug)]
pub struct Durable(());

impl Durable {
    /// The row itself shows that nothing is left to do.
    pub(super) fn seen_in(_: &PaymentSlot) -> Self {
        Self(())
    }

    #[cfg(test)]
    pub(super) fn in_a_test() -> Self {
        Self(())
    }
}

/// A call was refused in a way that trying again cannot mend; the role stops, and what it had in
/// flight goes back to the bus.
#[derive(thiserror::Error, Debug)]
pub enum RoleError {
    /// The store refused a statement.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bus refused a message.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The subscription ended although nobody stopped it.
    #[error("the subscription {0} ended by itself")]
    SubscriptionEnded(String),
}

/// Repeats calls through outages, and tells of them.
pub struct Retrier {
    backoff: Backoff,
    entropy: Arc<Entropy>,
    metrics: Arc<RoleMetrics>,
    out: AtomicBool,
    warned: Mutex<Option<Instant>>,
}

impl Retrier {
    /// Retries with full jitter between 50 ms and 5 s.
    pub fn new(entropy: Arc<Entropy>, metrics: Arc<RoleMetrics>) -> Self {
        Self {
            backoff: Backoff::IN_PLACE,
            entropy,
            metrics,
            out: AtomicBool::new(false),
            warned: Mutex::new(None),
        }
    }

    /// Whether the last call failed: the role is not ready.
    pub fn in_outage(&self) -> bool {
        self.out.load(Ordering::Relaxed)
    }

    /// Calls of the store of this kind, each attempt counted and timed where somebody can ask.
    pub fn storing(&self, operation: StoreOperation) -> Repeating<'_> {
        Repeating { retrier: self, calls: self.metrics.store(operation) }
    }

    /// Attempts to publish on this topic, each counted and timed where somebody can ask.
    pub fn publishing(&self, topic: Topic) -> Repeating<'_> {
        Repeating { retrier: self, calls: self.metrics.publish(topic) }
    }

    /// Repeats a write until it definitely succeeded.
    pub async fn write<F>(&self, call: impl Fn() -> F) -> Result<Durable, RoleError>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        Repeating { retrier: self, calls: None }.write(call).await
    }

    /// Repeats a read until it succeeded.
    pub async fn read<T, F>(&self, call: impl Fn() -> F) -> Result<T, RoleError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        Repeating { retrier: self, calls: None }.read(call).await
    }

    /// What the role counts.
    pub fn metrics(&self) -> &RoleMetrics {
        &self.metrics
    }

    fn recovered(&self, attempts: u32) {
        if attempts > 0 && self.out.swap(false, Ordering::Relaxed) {
            tracing::info!(role = self.metrics.role, "back after an outage");
        }
    }

    async fn wait(&self, attempt: u32, error: &(dyn std::error::Error + Sync)) {
        self.out.store(true, Ordering::Relaxed);
        if self.should_warn() {
            tracing::warn!(role = self.metrics.role, attempt, "{error}; intake stops until it answers");
        }
        tokio::time::sleep(self.backoff.delay(attempt, self.entropy.share())).await;
    }

    fn should_warn(&self) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = warned.is_none_or(|at| at.elapsed() >= WARN_EVERY);
        if due {
            *warned = Some(Instant::now());
        }
        due
    }
}

/// Calls of one kind, repeated through outages.
#[derive(Clone, Copy)]
pub struct Repeating<'r> {
    retrier: &'r Retrier,
    calls: Option<&'r Calls>,
}

impl Repeating<'_> {
    /// Repeats a write until it definitely succeeded.
    pub async fn write<F>(self, call: impl Fn() -> F) -> Result<Durable, RoleError>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        self.read(call).await.map(|()| Durable(()))
    }

    /// Repeats a read until it succeeded.
    pub async fn read<T, F>(self, call: impl Fn() -> F) -> Result<T, RoleError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        Ok(self.repeat(call, StoreError::is_outage).await?)
    }

    /// Publishes until a receipt resolved.
    pub async fn publish(self, publisher: &dyn Publisher, message: &Message) -> Result<Durable, RoleError> {
        self.published(publisher, message).await.map(|(durable, _)| durable)
    }

    /// Publishes until a receipt resolved, and says the id the message got.
    pub async fn published(
        self,
        publisher: &dyn Publisher,
        message: &Message,
    ) -> Result<(Durable, String), RoleError> {
        let published = || async { publisher.publish(message.clone()).await.await };
        let id = self.repeat(published, PublishError::is_outage).await?;
        Ok((Durable(()), id))
    }

    async fn repeat<T, E, F>(self, call: impl Fn() -> F, is_outage: fn(&E) -> bool) -> Result<T, E>
    where
        E: std::error::Error + Sync,
        F: Future<Output = Result<T, E>>,
    {
        let mut attempt = 0;
        loop {
            let started = self.calls.map(|calls| (calls, Instant::now()));
            let outcome = call().await;
            let answer = match &outcome {
                Ok(_) => Answer::Ok,
                Err(error) if is_outage(error) => Answer::Unavailable,
                Err(_) => Answer::Refused,
            };
            if let Some((calls, started)) = started {
                calls.observe(answer, started.elapsed());
            }
            match outcome {
                Err(error) if answer == Answer::Unavailable => self.retrier.wait(attempt, &error).await,
                Ok(_) => {
                    self.retrier.recovered(attempt);
                    return outcome;
                }
                Err(_) => return outcome,
            }
            attempt += 1;
        }
    }
}
