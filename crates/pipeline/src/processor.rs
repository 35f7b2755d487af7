//! Processing deliveries: decodes a group of them, applies them together, and acks or nacks each. What cannot be applied
//! together is applied alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
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
use super::groups_in_flight::GroupInFlight;
pub(super) use super::groups_in_flight::GroupsInFlight;
use super::handler::{Applied, Decoded, Handler, Unapplied};
use ecom_bus::{Delivery, Lease, ReceivedMessage};
use ecom_domain::event_time::EventTime;
use ecom_domain::mutant::{Mutant, is_active};
use ecom_telemetry::metrics::{DispositionLabel, RoleMetrics};
use ecom_telemetry::traces::{self, ReceivedSpan, TRACEPARENT, TraceScope, TraceSpan};

/// Tasks of a consumer; an error ends the consumer.
pub(super) type Tasks = JoinSet<Result<(), RoleError>>;

/// Processes the deliveries of a subscription.
pub(super) struct Processor<H: Handler> {
    pub(super) handler: Arc<H>,
    /// The subscription's short name.
    pub(super) source: String,
    pub(super) buffer: Option<EarlyPaymentBuffer<EarlyPayment<H>>>,
    pub(super) counts: DeliveryCounts,
    /// Groups that are being applied together.
    pub(super) groups: Arc<GroupsInFlight>,
    pub(super) event_times: EventTimeCheck,
    pub(super) metrics: Arc<RoleMetrics>,
    pub(super) stop: CancellationToken,
}

/// A delivery that was not acked or nacked yet, without its message.
pub(super) struct InFlight {
    lease: Box<dyn Lease>,
    taken: Instant,
    /// Open from here to the ack or nack. Without a subscriber at DEBUG level it is disabled and costs a few
    /// instructions.
    span: Span,
    /// The same in its trace, where that is sampled.
    trace: TraceSpan,
}

/// A payment in the buffer: its delivery, and its event decoded.
pub(super) struct EarlyPayment<H: Handler> {
    received: ReceivedMessage,
    in_flight: InFlight,
    decoded: Decoded<H::Event<'static>>,
}

/// The next step for a delivery after it was first applied.
enum NextStep<E> {
    Ack(Option<EventTime>, Disposition),
    Buffer(Decoded<E>, BufferPermit),
    Nack,
}

impl<H: Handler> Processor<H> {
    /// Counts a delivery that was taken, and opens its span.
    fn begin(&self, delivery: Delivery, taken: Instant) -> (ReceivedMessage, InFlight) {
        let (received, lease) = delivery.into_parts();
        self.counts.start();
        self.metrics.received.inc();
        if received.attempt > 1 {
            self.metrics.redelivered.inc();
        }
        self.event_times.check(&received, &self.source, &self.metrics);
        self.metrics.in_flight.inc();
        let span = tracing::debug_span!(
            "delivery",
            subscription = self.source,
            message.id = received.id,
            attempt = received.attempt,
            // Links the delivery of a dead letter to the delivery it comes from: the dead letter carries it
            // on.
            traceparent = received.message.attributes.get(TRACEPARENT),
            order.id = Empty,
            disposition = Empty,
        );
        let trace = traces::delivery(ReceivedSpan {
            subscription: &self.source,
            id: &received.id,
            attempt: received.attempt,
            attributes: &received.message.attributes,
        });
        (received, InFlight { lease, taken, span, trace })
    }

    /// Takes a group of deliveries and processes it.
    pub(super) fn take(self: Arc<Self>, group: Vec<Delivery>) -> impl Future<Output = Result<(), RoleError>> {
        let taken = Instant::now();
        let (received, in_flight): (Vec<_>, Vec<_>) =
            group.into_iter().map(|delivery| self.begin(delivery, taken)).unzip();
        let group = GroupInFlight::new(&self.groups);
        async move { self.process(group, received, in_flight).await }
    }

    async fn process(
        &self,
        group: GroupInFlight,
        received: Vec<ReceivedMessage>,
        in_flight: Vec<InFlight>,
    ) -> Result<(), RoleError> {
        let decode = |(received, in_flight): (_, &InFlight)| {
            let decoded = catch_unwind(AssertUnwindSafe(|| self.handler.decode(received))).ok()?;
            if let Some(order_id) = decoded.order_id {
                in_flight.span.record("order.id", order_id.0);
                in_flight.trace.set_number("order.id", order_id.0);
            }
            Some(decoded)
        };
        let decoded: Vec<_> = received.iter().zip(&in_flight).map(decode).collect();
        let spans = decoded.iter().zip(&in_flight).filter(|(decoded, _)| decoded.is_some());
        let trace = traces::group(spans.map(|(_, in_flight)| &in_flight.trace));
        let members = received.iter().zip(&decoded);
        let members = members.map(|(received, decoded)| Some((received, decoded.as_ref()?)));
        let applied = self.apply_together(members, trace).await;
        let alone = FuturesUnordered::new();
        for (((received, decoded), in_flight), applied) in
            received.iter().zip(decoded).zip(in_flight).zip(applied)
        {
            match (applied, decoded) {
                (Some(Applied::Done(disposition)), Some(decoded)) => {
                    self.ack(in_flight, Some(decoded.t), &disposition);
                }
                (applied, decoded) => alone.push(self.process_alone(received, decoded, applied, in_flight)),
            }
        }
        drop(group);
        self.all(alone).await
    }

    /// Waits for all of them. An error stops the run.
    async fn all(
        &self,
        mut alone: FuturesUnordered<impl Future<Output = Result<(), RoleError>>>,
    ) -> Result<(), RoleError> {
        let mut outcome = Ok(());
        while let Some(ended) = alone.next().await {
            if ended.is_err() {
                self.stop.cancel();
            }
            outcome = outcome.and(ended);
            self.groups.notify();
        }
        outcome
    }

    /// Applies messages together; `None` for each that was not decoded or is to be applied alone, and for all of them
    /// if the handler panics.
    async fn apply_together<'m, 'e: 'm>(
        &self,
        members: impl ExactSizeIterator<Item = Option<(&'m ReceivedMessage, &'m Decoded<H::Event<'e>>)>> + Clone,
        trace: TraceScope,
    ) -> Vec<Option<Applied>>
    where
        H: 'm,
    {
        let mut results: Vec<_> = members.clone().map(|_| None).collect();
        if self.handler.group_size() > 1 {
            let group: Vec<_> = members.clone().flatten().collect();
            let applying = trace.run(self.handler.apply_together(&group));
            let applying = AssertUnwindSafe(applying).catch_unwind().await;
            let applied = applying.into_iter().flatten();
            let places = results.iter_mut().zip(members).filter(|(_, member)| member.is_some());
            for ((place, _), applied) in places.zip(applied) {
                *place = applied;
            }
        }
        results
    }

    /// Applies a message alone, unless that has been done, and acks, nacks or buffers it.
    async fn process_alone<'e>(
        &self,
        received: &ReceivedMessage,
        decoded: Option<Decoded<H::Event<'e>>>,
        applied: Option<Applied>,
        in_flight: InFlight,
    ) -> Result<(), RoleError> {
        let next = self.next_step(received, decoded, applied);
        let next = in_flight.trace.scope().run(next.instrument(in_flight.span.clone()));
        let next = match next.await {
            Err(_) if is_active(Mutant::NackInOutage) => NextStep::Nack,
            next => next?,
        };
        match next {
            NextStep::Ack(t, disposition) => self.ack(in_flight, t, &disposition),
            NextStep::Nack => self.nack(in_flight),
            NextStep::Buffer(decoded, permit) => {
                let payment = EarlyPayment { received: received.clone(), in_flight, decoded };
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

    async fn next_step(
        &self,
        received: &ReceivedMessage,
        decoded: Option<Decoded<H::Event<'_>>>,
        applied: Option<Applied>,
    ) -> Result<NextStep<H::Event<'static>>, RoleError> {
        let Some(decoded) = decoded else {
            return Ok(NextStep::Ack(None, self.panicked(received, None).await?));
        };
        let applied = self.apply(received, &decoded, applied).await?;
        let disposition = match (applied, &self.buffer) {
            (Applied::Done(disposition), _) => disposition,
            (Applied::GiveBack, _) => return Ok(NextStep::Nack),
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

    /// Checks for the orders of buffered payments, about so many at a time at most, until the run stops and the
    /// buffer is empty. An error stops the run.
    pub(super) async fn run_early_payments(self: Arc<Self>, most: usize) -> Result<(), RoleError> {
        let Some(buffer) = &self.buffer else { return Ok(()) };
        let mut outcome = Ok(());
        let mut checks = Tasks::new();
        let group = self.handler.group_size().max(1);
        let mut next = std::pin::pin!(buffer.next(group));
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
                buffered = &mut next, if !is_empty && checks.len() < most.div_ceil(group) => {
                    is_empty = buffered.is_empty();
                    if !is_empty {
                        checks.spawn(Arc::clone(&self).check(buffered));
                        next.set(buffer.next(group));
                    }
                }
            }
        }
        outcome
    }

    /// Checks for the orders of buffered payments once.
    async fn check(
        self: Arc<Self>,
        payments: Vec<BufferedPayment<EarlyPayment<H>>>,
    ) -> Result<(), RoleError> {
        let mut members = Vec::with_capacity(payments.len());
        for BufferedPayment { payment: EarlyPayment { received, decoded, .. }, .. } in &payments {
            members.push(Some((received, decoded)));
        }
        let trace = traces::group(payments.iter().map(|buffered| &buffered.payment.in_flight.trace));
        let applied = self.apply_together(members.into_iter(), trace).await;
        let checks = payments.into_iter().zip(applied);
        self.all(checks.map(|(buffered, applied)| self.check_alone(buffered, applied)).collect()).await
    }

    /// Checks for the order of a buffered payment, unless that has been done, and buffers it again if it may still
    /// wait.
    async fn check_alone(
        &self,
        buffered: BufferedPayment<EarlyPayment<H>>,
        applied: Option<Applied>,
    ) -> Result<(), RoleError> {
        let is_stopping = self.stop.is_cancelled();
        let may_wait = buffered.may_wait();
        let EarlyPayment { received, in_flight, decoded } = &buffered.payment;
        let (span, trace) = (in_flight.span.clone(), in_flight.trace.scope());
        let applied = self.apply(received, decoded, applied).instrument(span.clone());
        let applied = trace.run(applied).await?;
        let disposition = match applied {
            Applied::Done(disposition) => disposition,
            Applied::GiveBack => {
                self.nack(buffered.payment.in_flight);
                return Ok(());
            }
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
                let published = self.handler.dead_letter(received, Some(decoded), cause).instrument(span);
                trace.run(published).await?
            }
        };
        let t = decoded.t;
        self.ack(buffered.payment.in_flight, Some(t), &disposition);
        Ok(())
    }

    /// Applies a message, unless that has been done; a panic dead-letters this message alone.
    async fn apply(
        &self,
        received: &ReceivedMessage,
        decoded: &Decoded<H::Event<'_>>,
        applied: Option<Applied>,
    ) -> Result<Applied, RoleError> {
        if let Some(applied) = applied {
            return Ok(applied);
        }
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
        in_flight.trace.set("disposition", label.as_str());
        self.metrics.finish(label, in_flight.taken.elapsed());
        if let Some(t) = t {
            self.metrics.advance_watermark(t);
        }
        self.metrics.in_flight.dec();
        self.counts.ack();
        in_flight.lease.ack();
    }

    fn nack(&self, in_flight: InFlight) {
        in_flight.span.record("disposition", DispositionLabel::Nacked.as_str());
        in_flight.trace.set("disposition", DispositionLabel::Nacked.as_str());
        self.metrics.finish(DispositionLabel::Nacked, in_flight.taken.elapsed());
        self.metrics.in_flight.dec();
        self.counts.nack();
        in_flight.lease.nack();
    }
}
