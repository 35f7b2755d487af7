//! Workers: long-lived tasks that each take a delivery, decode it, apply it, and ack or nack it. A worker is
//! the permit to have a delivery in flight, so there are as many workers as the concurrency limit allows.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::delivery_counts::DeliveryCounts;
use super::disposition::Disposition;
use super::durable::RoleError;
use super::early_payments::{BufferPermit, BufferedPayment, EarlyPaymentBuffer};
use super::event_time_check::EventTimeCheck;
use super::handler::{Applied, Decoded, Handler, Unapplied};
use ecom_bus::{Delivery, ReceivedMessage, Subscription};
use ecom_domain::event_time::EventTime;
use ecom_domain::mutant::{Mutant, is_active};
use ecom_telemetry::metrics::{DispositionLabel, RoleMetrics};

/// Tasks of a consumer; an error ends the consumer.
pub(super) type WorkerTasks = JoinSet<Result<(), RoleError>>;

/// The state that all workers of a subscription share.
pub(super) struct WorkerPool<H: Handler> {
    pub(super) handler: Arc<H>,
    pub(super) subscription: Arc<Subscription>,
    /// The subscription's short name.
    pub(super) source: String,
    pub(super) buffer: Option<EarlyPaymentBuffer<EarlyPayment<H>>>,
    /// Deliveries that may still be taken.
    pub(super) remaining: AtomicU64,
    pub(super) size: PoolSize,
    pub(super) counts: DeliveryCounts,
    pub(super) event_times: EventTimeCheck,
    pub(super) metrics: Arc<RoleMetrics>,
    pub(super) stop: CancellationToken,
}

/// The number of workers there are, and the number there should be.
#[derive(Default, Debug)]
pub(super) struct PoolSize {
    current: AtomicUsize,
    target: AtomicUsize,
}

impl PoolSize {
    /// Sets the target and returns how many workers the caller has to start.
    fn grow_to(&self, target: usize) -> usize {
        self.target.store(target, Ordering::Relaxed);
        target.saturating_sub(self.current.fetch_max(target, Ordering::Relaxed))
    }

    /// Returns true when the calling worker is surplus and has to end; it is no longer counted then.
    fn shrink(&self) -> bool {
        let target = self.target.load(Ordering::Relaxed);
        let one_less = |current: usize| (current > target).then(|| current - 1);
        self.current.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

/// A delivery that was not acked or nacked yet.
pub(super) struct InFlight {
    delivery: Delivery,
    taken: Instant,
    /// Open from here to the ack or nack. Without a subscriber at DEBUG level it is disabled and costs a few
    /// instructions.
    span: Span,
}

impl InFlight {
    fn new(delivery: Delivery, source: &str) -> Self {
        let received = &delivery.received;
        let span = tracing::debug_span!(
            "delivery",
            subscription = source,
            message.id = received.id,
            attempt = received.attempt,
            // Links the delivery of a dead letter to the delivery it comes from: the dead letter carries it
            // on.
            traceparent = received.message.attributes.get("traceparent"),
            order.id = Empty,
            disposition = Empty,
        );
        Self { taken: Instant::now(), span, delivery }
    }
}

/// A payment in the buffer: its delivery, and its event decoded.
pub(super) struct EarlyPayment<H: Handler> {
    in_flight: InFlight,
    decoded: Decoded<H::Event<'static>>,
}

/// The next step for a delivery after it was first applied.
enum NextStep<E> {
    Ack(Option<EventTime>, Disposition),
    Buffer(Decoded<E>, BufferPermit),
    Nack,
}

impl<H: Handler> WorkerPool<H> {
    /// Starts the workers that are missing; surplus workers end by themselves after their delivery.
    pub(super) fn resize(self: &Arc<Self>, target: usize, tasks: &mut WorkerTasks) {
        for _ in 0..self.size.grow_to(target) {
            tasks.spawn(Arc::clone(self).run());
        }
    }

    async fn run(self: Arc<Self>) -> Result<(), RoleError> {
        while !self.size.shrink() {
            let delivery = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                delivery = self.subscription.next() => delivery,
            };
            let Some(delivery) = delivery else {
                let subscription = self.source.clone();
                return Err(match self.subscription.failure() {
                    Some(cause) => RoleError::SubscriptionFailed { subscription, cause },
                    None => RoleError::SubscriptionEnded(subscription),
                });
            };
            if !self.take_one() {
                delivery.nack();
                return Ok(());
            }
            self.counts.start();
            self.metrics.received.inc();
            if delivery.received.attempt > 1 {
                self.metrics.redelivered.inc();
            }
            self.event_times.check(&delivery.received, &self.source, &self.metrics);
            self.metrics.in_flight.inc();
            self.process(InFlight::new(delivery, &self.source)).await?;
        }
        Ok(())
    }

    /// Returns true when the run may take another delivery; stops the run with the last one.
    fn take_one(&self) -> bool {
        let one_less = |remaining: u64| remaining.checked_sub(1);
        let before = self.remaining.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        if before.is_err() || before == Ok(1) {
            self.stop.cancel();
        }
        before.is_ok()
    }

    async fn process(&self, in_flight: InFlight) -> Result<(), RoleError> {
        let InFlight { delivery, span, .. } = &in_flight;
        let apply_first = self.apply_first(&delivery.received, span).instrument(span.clone());
        let next = match apply_first.await {
            Err(_) if is_active(Mutant::NackInOutage) => NextStep::Nack,
            next => next?,
        };
        match next {
            NextStep::Ack(t, disposition) => self.ack(in_flight, t, &disposition),
            NextStep::Nack => self.nack(in_flight),
            NextStep::Buffer(decoded, permit) => {
                let payment = EarlyPayment { in_flight, decoded };
                let pushed = match &self.buffer {
                    Some(buffer) => buffer.push(permit, payment),
                    None => Err(payment),
                };
                match pushed {
                    Ok(()) => drop(self.metrics.buffered.inc()),
                    Err(payment) => self.nack(payment.in_flight),
                }
            }
        }
        Ok(())
    }

    async fn apply_first(
        &self,
        received: &ReceivedMessage,
        span: &Span,
    ) -> Result<NextStep<H::Event<'static>>, RoleError> {
        let Ok(decoded) = catch_unwind(AssertUnwindSafe(|| self.handler.decode(received))) else {
            return Ok(NextStep::Ack(None, self.panicked(received, None).await?));
        };
        if let Some(order_id) = decoded.order_id {
            span.record("order.id", order_id.0);
        }
        let disposition = match (self.apply(received, &decoded).await?, &self.buffer) {
            (Applied::Done(disposition), _) => disposition,
            (Applied::AwaitOrder, Some(_)) if self.stop.is_cancelled() => return Ok(NextStep::Nack),
            (Applied::AwaitOrder, buffer) => {
                let body = &received.message.body;
                if let Some(permit) = buffer.as_ref().and_then(|buffer| buffer.reserve(body.len())) {
                    let Decoded { t, order_id, event } = decoded;
                    let decoded = Decoded { t, order_id, event: H::into_owned(event) };
                    return Ok(NextStep::Buffer(decoded, permit));
                }
                self.handler.dead_letter(received, Some(&decoded), Unapplied::OrderMissing).await?
            }
        };
        Ok(NextStep::Ack(Some(decoded.t), disposition))
    }

    /// Checks for the orders of buffered payments, at most so many at a time, until the run stops and the
    /// buffer is empty. An error stops the run.
    pub(super) async fn run_early_payments(self: Arc<Self>, most: usize) -> Result<(), RoleError> {
        let Some(buffer) = &self.buffer else { return Ok(()) };
        let mut outcome = Ok(());
        let mut checks = WorkerTasks::new();
        let mut next = std::pin::pin!(buffer.next());
        let mut is_empty = false;
        while !(is_empty && checks.is_empty()) {
            tokio::select! {
                biased;
                Some(ended) = checks.join_next() => {
                    let ended = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
                    if ended.is_err() {
                        self.stop.cancel();
                        outcome = outcome.and(ended);
                    }
                }
                buffered = &mut next, if !is_empty && checks.len() < most => match buffered {
                    Some(buffered) => {
                        checks.spawn(Arc::clone(&self).check(buffered));
                        next.set(buffer.next());
                    }
                    None => is_empty = true,
                },
            }
        }
        outcome
    }

    /// Checks for the order of a buffered payment once, and buffers it again if it may still wait.
    async fn check(self: Arc<Self>, buffered: BufferedPayment<EarlyPayment<H>>) -> Result<(), RoleError> {
        let is_stopping = self.stop.is_cancelled();
        let may_wait = buffered.may_wait();
        let EarlyPayment { in_flight, decoded } = &buffered.payment;
        let received = &in_flight.delivery.received;
        let span = in_flight.span.clone();
        let disposition = match self.apply(received, decoded).instrument(span.clone()).await? {
            Applied::Done(disposition) => disposition,
            Applied::AwaitOrder if is_stopping => {
                self.nack(buffered.payment.in_flight);
                return Ok(());
            }
            Applied::AwaitOrder if may_wait => {
                let waits = match &self.buffer {
                    Some(buffer) => buffer.wait(buffered),
                    None => Err(buffered),
                };
                if let Err(BufferedPayment { payment, .. }) = waits {
                    self.nack(payment.in_flight);
                }
                return Ok(());
            }
            Applied::AwaitOrder => {
                let cause = Unapplied::OrderMissing;
                self.handler.dead_letter(received, Some(decoded), cause).instrument(span).await?
            }
        };
        let t = decoded.t;
        self.ack(buffered.payment.in_flight, Some(t), &disposition);
        Ok(())
    }

    /// Applies a message; a panic dead-letters this message alone.
    async fn apply(
        &self,
        received: &ReceivedMessage,
        decoded: &Decoded<H::Event<'_>>,
    ) -> Result<Applied, RoleError> {
        match AssertUnwindSafe(self.handler.apply(received, decoded)).catch_unwind().await {
            Ok(applied) => applied,
            Err(_) => self.panicked(received, Some(decoded)).await.map(Applied::Done),
        }
    }

    async fn panicked(
        &self,
        received: &ReceivedMessage,
        decoded: Option<&Decoded<H::Event<'_>>>,
    ) -> Result<Disposition, RoleError> {
        tracing::error!(role = %self.metrics.role, message.id = received.id, "the handler panicked");
        self.handler.dead_letter(received, decoded, Unapplied::Panicked).await
    }

    fn ack(&self, in_flight: InFlight, t: Option<EventTime>, disposition: &Disposition) {
        let label = disposition.label();
        in_flight.span.record("disposition", label.as_str());
        self.metrics.finish(label, in_flight.taken.elapsed());
        if let Some(t) = t {
            self.metrics.advance_watermark(t);
        }
        self.metrics.in_flight.dec();
        self.counts.ack();
        in_flight.delivery.ack();
    }

    fn nack(&self, in_flight: InFlight) {
        in_flight.span.record("disposition", DispositionLabel::Nacked.as_str());
        self.metrics.finish(DispositionLabel::Nacked, in_flight.taken.elapsed());
        self.metrics.in_flight.dec();
        self.counts.nack();
        in_flight.delivery.nack();
    }
}
