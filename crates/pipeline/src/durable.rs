//! Retrying a call in place until it definitely succeeds. An outage is never a reason to dead-letter or nack
//! a message: it is waited out here, with the same values and the same T. Each failed attempt is counted
//! here, and outages are logged here and nowhere else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use ecom_bus::{Message, PublishError, Publisher};
use ecom_clock::{Entropy, LogThrottle};
use ecom_domain::backoff::Backoff;
use ecom_domain::fact::PaymentSlot;
use ecom_domain::mutant::{Mutant, is_active};
use ecom_store::StoreError;
use ecom_telemetry::metrics::{CallDurations, CallOutcome, RoleMetrics, StoreOperation, Topic};
use ecom_telemetry::traces::{self, PublishedMessage};

/// The time that a store may refuse a role by default.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// The time without a refusal after which the next one counts as the first.
const REFUSAL_GAP: Duration = Duration::from_secs(60);
/// The shortest time between two warnings about an outage.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Proof that an effect is durable. Made only here: from a definite success, a publish acknowledgement, or
/// evidence read from the store. The effects of one write share it.
#[derive(Clone, Debug)]
pub struct Durable(());

impl Durable {
    /// The row read shows that the effect is there.
    pub(super) fn seen_in(_: &PaymentSlot) -> Self {
        Self(())
    }

    #[cfg(test)]
    pub(super) fn in_a_test() -> Self {
        Self(())
    }
}

/// A permanent error of a role. The role stops, and the bus delivers again what was in flight.
#[derive(thiserror::Error, Debug)]
pub enum RoleError {
    /// The store refused a statement; a retry cannot succeed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bus refused a message; a retry cannot succeed.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The subscription with this short name ended without being stopped.
    #[error("subscription {0} ended without being stopped")]
    SubscriptionEnded(String),
    /// Receiving from a subscription can never succeed again.
    #[error("could not receive from subscription {subscription}: {cause}")]
    SubscriptionFailed {
        /// The short name of the subscription.
        subscription: String,
        /// The cause, from the bus.
        cause: String,
    },
}

/// The first and the last of the calls that a store refused because it does not admit the role.
#[derive(Clone, Copy)]
struct Refusals {
    first: Instant,
    last: Instant,
}

/// Retries calls through outages, with full jitter between 50 ms and 5 s unless told otherwise. A refused login or
/// certificate is retried, too, because it may be changed, but not for ever: the messages in flight are for those that are
/// admitted.
pub struct Retrier {
    backoff: Backoff,
    entropy: Arc<Entropy>,
    metrics: Arc<RoleMetrics>,
    out: AtomicBool,
    refusal_timeout: Duration,
    refusals: Mutex<Option<Refusals>>,
    warnings: Mutex<LogThrottle>,
    /// True from a warning until the end of its outage is logged.
    warned: AtomicBool,
}

impl Retrier {
    /// A retrier for a role; it has no outage yet.
    pub fn new(entropy: Arc<Entropy>, metrics: Arc<RoleMetrics>) -> Self {
        Self {
            backoff: Backoff::IN_PLACE,
            entropy,
            metrics,
            out: AtomicBool::new(false),
            refusal_timeout: REFUSAL_TIMEOUT,
            refusals: Mutex::new(None),
            warnings: Mutex::new(LogThrottle::every(WARN_EVERY)),
            warned: AtomicBool::new(false),
        }
    }

    /// The same, with another time that a store may refuse the role; 5 min by default.
    pub fn with_refusal_timeout(self, refusal_timeout: Duration) -> Self {
        Self { refusal_timeout, ..self }
    }

    /// The same, with another backoff.
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Returns true if a call that failed with this error is worth repeating: it is an outage, and if the store does
    /// not admit the role, it has not done so for longer than the time that it may.
    pub fn outlasts(&self, error: &StoreError) -> bool {
        if !error.is_not_admitted() {
            return error.is_outage();
        }
        let now = Instant::now();
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let first = match *refusals {
            Some(Refusals { first, last }) if now.duration_since(last) < REFUSAL_GAP => first,
            _ => now,
        };
        *refusals = Some(Refusals { first, last: now });
        now.duration_since(first) < self.refusal_timeout
    }

    /// Returns true while calls fail: the role is not ready.
    pub fn in_outage(&self) -> bool {
        self.out.load(Ordering::Relaxed)
    }

    /// Calls of the store, each attempt timed while the metrics are exported.
    pub fn storing(&self, operation: StoreOperation) -> RetriedCall<'_> {
        RetriedCall { durations: self.metrics.store(operation), operation: Some(operation), ..self.calling() }
    }

    /// Publishing on this topic, each attempt timed while the metrics are exported.
    pub fn publishing(&self, topic: Topic) -> RetriedCall<'_> {
        RetriedCall { durations: self.metrics.publish(topic), topic: Some(topic), ..self.calling() }
    }

    /// Sending to a receiver outside of bus and store, each attempt timed while the metrics are exported.
    pub fn sending(&self) -> RetriedCall<'_> {
        RetriedCall { durations: self.metrics.send(), ..self.calling() }
    }

    fn calling(&self) -> RetriedCall<'_> {
        RetriedCall { retrier: self, durations: None, operation: None, topic: None }
    }

    /// Retries a write until it definitely succeeds.
    pub async fn write<F>(&self, call: impl Fn() -> F) -> Result<Durable, RoleError>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        self.calling().write(call).await
    }

    /// Retries a read until it succeeds.
    pub async fn read<T, F>(&self, call: impl Fn() -> F) -> Result<T, RoleError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        self.calling().read(call).await
    }

    /// Publishes until the bus acknowledges it.
    pub async fn publish(&self, publisher: &dyn Publisher, message: &Message) -> Result<Durable, RoleError> {
        self.calling().publish(publisher, message).await
    }

    /// Retries a call until it succeeds, and takes its result as proof: that of a conditional write, which returns what
    /// stands, or of a read that shows the effect.
    pub async fn evidence<T, F>(&self, call: impl Fn() -> F) -> Result<(T, Durable), RoleError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        Ok((self.read(call).await?, Durable(())))
    }

    /// The role's counters.
    pub fn metrics(&self) -> &RoleMetrics {
        &self.metrics
    }

    /// Ends the outage, if there is one, after a call that succeeded after so many failed attempts.
    pub fn recovered(&self, attempts: u32) {
        if attempts > 0 && self.out.swap(false, Ordering::Relaxed) {
            *self.refusals.lock().unwrap_or_else(PoisonError::into_inner) = None;
            if self.is_end_to_log() {
                tracing::info!(role = %self.metrics.role, "the outage is over");
            }
        }
    }

    /// Returns true once after a warning: in an outage of a part of the calls, others succeed many times a second.
    fn is_end_to_log(&self) -> bool {
        self.warned.swap(false, Ordering::Relaxed)
    }

    /// Waits before a call that failed in an outage is repeated; `attempt` is 0 after the first failure. For callers that
    /// decide anew before each attempt.
    pub async fn wait(&self, attempt: u32, error: &(dyn std::error::Error + Sync)) {
        self.out.store(true, Ordering::Relaxed);
        if self.should_warn() {
            self.warned.store(true, Ordering::Relaxed);
            tracing::warn!(role = %self.metrics.role, attempt, "{error}; retrying until it succeeds");
        }
        tokio::time::sleep(self.backoff.delay(attempt, self.entropy.share())).await;
    }

    fn should_warn(&self) -> bool {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.admit(Instant::now()).is_some()
    }
}

/// One kind of call, retried through outages.
#[derive(Clone, Copy)]
pub struct RetriedCall<'r> {
    retrier: &'r Retrier,
    durations: Option<&'r CallDurations>,
    /// The store's operation, for spans.
    operation: Option<StoreOperation>,
    /// The topic, for spans.
    topic: Option<Topic>,
}

impl RetriedCall<'_> {
    /// Retries a write until it definitely succeeds.
    pub async fn write<F>(self, call: impl Fn() -> F) -> Result<Durable, RoleError>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        if is_active(Mutant::AckBeforeWrite) {
            let _ = call().await;
            return Ok(Durable(()));
        }
        self.read(call).await.map(|()| Durable(()))
    }

    /// Retries a read until it succeeds.
    pub async fn read<T, F>(self, call: impl Fn() -> F) -> Result<T, RoleError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        Ok(self.retry(call, |error| self.retrier.outlasts(error)).await?)
    }

    /// Makes one attempt of a write for members of a group of messages, by their places; `None` if it fails.
    pub async fn try_write(
        self,
        call: impl Future<Output = Result<(), StoreError>>,
        is_for: impl Fn(usize) -> bool,
    ) -> Option<Durable> {
        let written = self.try_read(call, is_for).await;
        (written.is_some() || is_active(Mutant::AckBeforeWrite)).then_some(Durable(()))
    }

    /// Makes one attempt of a read for members of a group of messages, by their places; `None` if it fails.
    pub async fn try_read<T>(
        self,
        call: impl Future<Output = Result<T, StoreError>>,
        is_for: impl Fn(usize) -> bool,
    ) -> Option<T> {
        let result = self.timed(call, StoreError::is_outage, is_for).await.1;
        result.inspect_err(|error| tracing::debug!("{error}; it is tried one by one")).ok()
    }

    /// Makes one attempt of a call. `is_outage` tells whether its error is worth a repetition.
    pub async fn attempt<T, E>(
        self,
        call: impl Future<Output = Result<T, E>>,
        is_outage: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        self.timed(call, is_outage, |_| true).await.1
    }

    /// Publishes until the bus acknowledges it.
    pub async fn publish(self, publisher: &dyn Publisher, message: &Message) -> Result<Durable, RoleError> {
        self.published(publisher, message).await.map(|(durable, _)| durable)
    }

    /// Publishes until the bus acknowledges it, and returns the message id. A message without a trace gets that of the
    /// delivery which is being processed.
    pub async fn published(
        self,
        publisher: &dyn Publisher,
        message: &Message,
    ) -> Result<(Durable, String), RoleError> {
        match traces::publish(self.topic, &message.attributes) {
            None => self.acknowledged(publisher, message).await,
            Some(traced) => Box::pin(self.acknowledged_in_trace(publisher, message, traced)).await,
        }
    }

    /// Publishes a message with these attributes, if any, and ends its span.
    async fn acknowledged_in_trace(
        self,
        publisher: &dyn Publisher,
        message: &Message,
        traced: PublishedMessage,
    ) -> Result<(Durable, String), RoleError> {
        let PublishedMessage { span, attributes } = traced;
        let attributes = attributes.unwrap_or_else(|| message.attributes.clone());
        let message = Message { body: message.body.clone(), attributes };
        let published = self.acknowledged(publisher, &message).await;
        match &published {
            Ok((_, id)) => span.set("messaging.message.id", id),
            Err(_) => span.fail("refused"),
        }
        published
    }

    async fn acknowledged(
        self,
        publisher: &dyn Publisher,
        message: &Message,
    ) -> Result<(Durable, String), RoleError> {
        let publish = || async { publisher.publish(message.clone()).await.await };
        if is_active(Mutant::AckBeforePublish) {
            return Ok((Durable(()), publish().await.unwrap_or_default()));
        }
        let id = self.retry(publish, PublishError::is_outage).await?;
        Ok((Durable(()), id))
    }

    async fn retry<T, E, F>(self, call: impl Fn() -> F, is_outage: impl Fn(&E) -> bool) -> Result<T, E>
    where
        E: std::error::Error + Sync,
        F: Future<Output = Result<T, E>>,
    {
        let mut attempt = 0;
        loop {
            let (outcome, result) = self.timed(call(), &is_outage, |_| true).await;
            match result {
                Err(_) if is_active(Mutant::NackInOutage) => return result,
                Err(error) if outcome == CallOutcome::Unavailable => self.retrier.wait(attempt, &error).await,
                Ok(_) => {
                    self.retrier.recovered(attempt);
                    return result;
                }
                Err(_) => return result,
            }
            attempt += 1;
        }
    }

    /// Awaits a call, and observes how long it took: in the metrics, and in the spans of those members of a group that it
    /// is for.
    async fn timed<T, E>(
        self,
        call: impl Future<Output = Result<T, E>>,
        is_outage: impl Fn(&E) -> bool,
        is_for: impl Fn(usize) -> bool,
    ) -> (CallOutcome, Result<T, E>) {
        let spans = traces::store_call(self.operation, is_for);
        let started = self.durations.map(|durations| (durations, Instant::now()));
        let result = call.await;
        let outcome = match &result {
            Ok(_) => CallOutcome::Ok,
            Err(error) if is_outage(error) => CallOutcome::Unavailable,
            Err(_) => CallOutcome::Refused,
        };
        if let Some((durations, started)) = started {
            durations.observe(outcome, started.elapsed());
        }
        spans.end(outcome);
        (outcome, result)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use ecom_domain::role::Role;

    fn retrier() -> Retrier {
        let metrics = Arc::new(RoleMetrics::new(Role::OrderConsumer));
        Retrier::new(Arc::new(Entropy::seeded(1)), metrics).with_refusal_timeout(Duration::from_secs(120))
    }

    fn refused() -> StoreError {
        StoreError::NotAdmitted { what: "write", on: "a test".into(), source: "bad credentials".into() }
    }

    fn down() -> StoreError {
        StoreError::Unavailable { what: "write", on: "a test".into(), source: "no answer".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_login_is_retried_for_its_time_and_then_ends_the_role() {
        let (retrier, started) = (retrier(), Instant::now());
        let error = retrier.write(|| async { Err(refused()) }).await.unwrap_err();
        assert!(matches!(&error, RoleError::Store(error) if error.is_not_admitted()), "{error}");
        let took = started.elapsed();
        assert!((Duration::from_secs(120)..Duration::from_secs(126)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_is_accepted_again_in_time_was_an_outage_like_any_other() {
        let (retrier, started) = (retrier(), Instant::now());
        for _ in 0..3 {
            let until = Instant::now() + Duration::from_secs(100);
            let refused_until = || async { if Instant::now() < until { Err(refused()) } else { Ok(()) } };
            retrier.write(refused_until).await.unwrap();
        }
        assert!(started.elapsed() > Duration::from_secs(300));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_decides_before_each_attempt_waits_as_its_backoff_says_and_is_in_an_outage_meanwhile()
     {
        let minute = Duration::from_secs(60);
        let (retrier, started) =
            (retrier().with_backoff(Backoff::try_new(minute, minute).unwrap()), Instant::now());
        for attempt in 0..100 {
            let made = retrier.sending().attempt(async { Err::<(), _>(down()) }, StoreError::is_outage).await;
            assert!(!retrier.in_outage() || attempt > 0);
            retrier.wait(attempt, &made.unwrap_err()).await;
        }
        let took = started.elapsed();
        assert!((minute * 30..minute * 70).contains(&took), "full jitter: {took:?}");
        assert!(retrier.in_outage());
        retrier.recovered(100);
        assert!(!retrier.in_outage());
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_an_outage_is_logged_no_more_often_than_its_warnings() {
        let (retrier, started, mut ends) = (retrier(), Instant::now(), 0);
        while started.elapsed() < WARN_EVERY * 6 {
            retrier.wait(0, &down()).await;
            ends += u32::from(retrier.is_end_to_log());
        }
        assert!((5..=7).contains(&ends), "{ends}");
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_with_an_outage_of_another_kind_between_them_are_not_one() {
        let (retrier, attempts) = (retrier(), Cell::new(0));
        let started = Instant::now();
        let call = || async {
            attempts.set(attempts.get() + 1);
            match started.elapsed().as_secs() {
                0..3 | 1_000..1_100 => Err(refused()),
                0..1_000 => Err(down()),
                _ => Ok(()),
            }
        };
        retrier.write(call).await.unwrap();
        assert!(attempts.get() > 200, "{}", attempts.get());
    }
}
