//! Repeating a call in place until it definitely succeeded. An outage is never a reason to settle
//! a message: it is waited out here, with the same values and the same T.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::bus::{Message, PublishError, Publisher};
use crate::clock::Chance;
use crate::domain::backoff::Backoff;
use crate::domain::fact::PaymentSlot;
use crate::metrics::RoleMetrics;
use crate::store::StoreError;

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
pub enum Halt {
    /// The store refused a statement.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bus refused a message.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The subscription ended although nobody stopped it.
    #[error("the subscription {0} ended by itself")]
    Ended(String),
}

/// Repeats calls through outages, and tells of them.
pub struct Retrying {
    backoff: Backoff,
    chance: Arc<Chance>,
    metrics: Arc<RoleMetrics>,
    out: AtomicBool,
    warned: Mutex<Option<Instant>>,
}

impl Retrying {
    /// Retries with full jitter between 50 ms and 5 s.
    pub fn new(chance: Arc<Chance>, metrics: Arc<RoleMetrics>) -> Self {
        Self {
            backoff: Backoff::IN_PLACE,
            chance,
            metrics,
            out: AtomicBool::new(false),
            warned: Mutex::new(None),
        }
    }

    /// Whether the last call failed: the role is not ready.
    pub fn in_outage(&self) -> bool {
        self.out.load(Ordering::Relaxed)
    }

    /// Repeats a write until it definitely succeeded.
    pub async fn write<F>(&self, call: impl Fn() -> F) -> Result<Durable, Halt>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        self.read(call).await.map(|()| Durable(()))
    }

    /// Repeats a read until it succeeded.
    pub async fn read<T, F>(&self, call: impl Fn() -> F) -> Result<T, Halt>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut attempt = 0;
        loop {
            match call().await {
                Ok(value) => {
                    self.recovered(attempt);
                    return Ok(value);
                }
                Err(error) if error.is_outage() => self.wait(attempt, &error).await,
                Err(error) => return Err(error.into()),
            }
            attempt += 1;
        }
    }

    /// Publishes until a receipt resolved.
    pub async fn publish(&self, publisher: &dyn Publisher, message: &Message) -> Result<Durable, Halt> {
        self.published(publisher, message).await.map(|(durable, _)| durable)
    }

    /// Publishes until a receipt resolved, and says the id the message got.
    pub async fn published(
        &self,
        publisher: &dyn Publisher,
        message: &Message,
    ) -> Result<(Durable, String), Halt> {
        let mut attempt = 0;
        loop {
            match publisher.publish(message.clone()).await.await {
                Ok(id) => {
                    self.recovered(attempt);
                    return Ok((Durable(()), id));
                }
                Err(error) if error.is_outage() => self.wait(attempt, &error).await,
                Err(error) => return Err(error.into()),
            }
            attempt += 1;
        }
    }

    fn recovered(&self, attempts: u32) {
        if attempts > 0 && self.out.swap(false, Ordering::Relaxed) {
            tracing::info!(role = self.metrics.role, "back after an outage");
        }
    }

    async fn wait(&self, attempt: u32, error: &(dyn std::error::Error + Sync)) {
        self.metrics.retried.inc();
        self.out.store(true, Ordering::Relaxed);
        if self.should_warn() {
            tracing::warn!(role = self.metrics.role, attempt, "{error}; intake stops until it answers");
        }
        tokio::time::sleep(self.backoff.delay(attempt, self.chance.share())).await;
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
