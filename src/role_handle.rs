//! The handle of a running role: its counters and its readiness.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use super::context::Context;
use ecom_bus::Subscription;
use ecom_clock::Clock;
use ecom_domain::role::RoleName;
use ecom_pipeline::durable::Retrier;
use ecom_telemetry::metrics::{DeadLetterGauges, RoleMetrics};

/// A role as metrics, health checks and heartbeats see it.
#[derive(Clone)]
pub(crate) struct RoleHandle {
    /// Its counters.
    pub(crate) metrics: Arc<RoleMetrics>,
    /// Retries its calls through outages.
    pub(crate) retrier: Arc<Retrier>,
    /// Gauges of the dead-letter store, of the role that handles it.
    pub(crate) dead_letter_gauges: Option<Arc<DeadLetterGauges>>,
    subscription: Arc<Mutex<Weak<Subscription>>>,
    /// Returns true in an outage that calls outside of the retrier have met.
    outage: Arc<OnceLock<OutageCheck>>,
}

/// Returns true in an outage.
type OutageCheck = Box<dyn Fn() -> bool + Send + Sync>;

impl RoleHandle {
    /// A handle with counters at zero.
    pub(crate) fn new(role: impl Into<RoleName>, context: &Context) -> Self {
        let metrics = Arc::new(RoleMetrics::new(role));
        let retrier = Retrier::new(Arc::clone(&context.entropy), Arc::clone(&metrics));
        let retrier = Arc::new(retrier.with_refusal_timeout(context.config.connect.refusal_timeout));
        Self {
            metrics,
            retrier,
            dead_letter_gauges: None,
            subscription: Arc::default(),
            outage: Arc::default(),
        }
    }

    /// Adds gauges of the dead-letter store.
    pub(crate) fn with_dead_letter_gauges(self, clock: Clock) -> Self {
        Self { dead_letter_gauges: Some(Arc::new(DeadLetterGauges::new(move || clock.now_us()))), ..self }
    }

    /// Makes the role's readiness depend on this subscription, for as long as it exists.
    pub(crate) fn watch(&self, subscription: &Arc<Subscription>) {
        *self.subscription.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(subscription);
    }

    /// Makes the role's readiness depend on this as well. The first one counts.
    #[cfg(feature = "shop")]
    pub(crate) fn watch_outage(&self, is_in_outage: impl Fn() -> bool + Send + Sync + 'static) {
        // Where a role is started again in the same process, it has the same calls.
        let _ = self.outage.set(Box::new(is_in_outage));
    }

    /// Returns true when the last call of bus or store failed, or the subscription gets no answer.
    pub(crate) fn in_outage(&self) -> bool {
        let subscription = self.subscription.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        self.retrier.in_outage()
            || subscription.is_some_and(|subscription| !subscription.answers())
            || self.outage.get().is_some_and(|is_in_outage| is_in_outage())
    }
}
