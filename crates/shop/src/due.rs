//! Orders and payments that are due later: unpaid orders that expire, paid ones that complete, and whatever a process left
//! unfinished.
//!
//! A record says itself when it is due, so nothing depends on the process that set the time. That process keeps a timer and
//! is exact. What its timers miss, because it was killed or had too many, the sweep of any processor finds a little later.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use futures_util::future::Either;
use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::processor::PaymentProcessor;
use ecom_clock::{LogThrottle, micros};
use ecom_domain::order::OrderId;
use ecom_pipeline::durable::{Durable, RoleError};
use ecom_shop_domain::request::ProcessingRequest;
use ecom_shop_store::ReadGuarantee;
use ecom_store::StoreError;

/// The most timers of a process; what is due beyond them is left to the sweep.
const TIMERS: usize = 100_000;
/// The most new timers that wait to be taken over.
const NEW_TIMERS: usize = 4_096;
/// The most orders and payments that are processed at the same time because they are due.
const CONCURRENCY: usize = 256;
/// The time between two sweeps.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// The time after which a sweep that failed begins again.
const SWEEP_RETRY: Duration = Duration::from_secs(1);
/// The time after which the sweep processes what is due, so that it leaves to the timers what they are about to do.
const SWEEP_AFTER: Duration = Duration::from_secs(10);
/// The longest time that one of them is processed. One whose payment gateway does not answer gives its place to others.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// The time after which such a one is processed again.
const RESUME_AFTER: Duration = Duration::from_secs(5 * 60);
/// The shortest time between two warnings about sweeps that fail.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// The sweeps after which one looks back again, for what a process that was frozen has set to be due in the past.
const LOOK_AGAIN_EVERY: u32 = 6;
/// How far such a sweep looks back.
const LOOK_AGAIN: Duration = Duration::from_secs(5 * 60);
/// How far back the first sweep looks.
const LOOK_BACK: Duration = Duration::from_secs(7 * 86_400);

/// A time in microseconds since the epoch, and what is due then.
type Timer = (i64, ProcessingRequest);

/// The timers of a processor.
#[derive(Clone)]
pub struct DueQueue(mpsc::Sender<Timer>);

/// The new timers, for [`run`].
pub struct NewTimers(mpsc::Receiver<Timer>);

impl DueQueue {
    /// Returns a queue, and its other end.
    pub fn channel() -> (Self, NewTimers) {
        let (sender, receiver) = mpsc::channel(NEW_TIMERS);
        (Self(sender), NewTimers(receiver))
    }

    /// Adds a timer. If there is no room, the sweep will find what is due.
    pub(super) fn add(&self, due_at: i64, request: ProcessingRequest) {
        if self.0.try_send((due_at, request)).is_err() {
            tracing::debug!("no room for a timer; the sweep finds it");
        }
    }
}

/// A sweep that has begun: the time through which it looks, and what it finds.
type Sweep<'p> = (i64, BoxStream<'p, Result<ProcessingRequest, StoreError>>);

/// Processes what is due, until stopped and what is being processed is done.
pub async fn run(
    processor: &PaymentProcessor,
    NewTimers(mut new_timers): NewTimers,
    stop: CancellationToken,
) -> Result<(), RoleError> {
    let mut timers = BinaryHeap::new();
    let mut running = FuturesUnordered::new();
    let mut sweeps = tokio::time::interval(SWEEP_INTERVAL);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut swept_through = processor.clock.now_us().saturating_sub(micros(LOOK_BACK));
    let mut sweep: Option<Sweep<'_>> = None;
    let mut sweep_number = 0_u32;
    let mut warnings = LogThrottle::every(WARN_EVERY);
    loop {
        let now = processor.clock.now_us();
        let is_open = !stop.is_cancelled();
        if !is_open && running.is_empty() {
            return Ok(());
        }
        let has_room = is_open && running.len() < CONCURRENCY;
        let next = timers.peek().map(|Reverse((due_at, _)): &Reverse<Timer>| *due_at);
        tokio::select! {
            biased;
            () = stop.cancelled(), if is_open => {}
            Some((request, done)) = running.next() => match done {
                Ok(done) => _ = done?,
                Err(_elapsed) => {
                    let again = processor.clock.now_us().saturating_add(micros(RESUME_AFTER));
                    timers.push(Reverse((again, request)));
                }
            },
            () = wait(now, next), if has_room && next.is_some() => {
                if let Some(Reverse((_, request))) = timers.pop() {
                    running.push(limited(request, Either::Left(processor.process(request))));
                }
            }
            Some(timer) = new_timers.recv(), if is_open && timers.len() < TIMERS => timers.push(Reverse(timer)),
            found = next_of(&mut sweep), if has_room && sweep.is_some() => match (found, sweep.take()) {
                (Some(Ok(request)), begun) => {
                    running.push(limited(request, Either::Right(process_if_due(processor, request))));
                    sweep = begun;
                }
                (Some(Err(error)), _) => {
                    if !processor.retrier.outlasts(&error) {
                        return Err(error.into());
                    }
                    if warnings.admit(Instant::now()).is_some() {
                        tracing::warn!("{error}; looking again until it succeeds");
                    }
                    sweeps.reset_after(SWEEP_RETRY);
                }
                (None, begun) => swept_through = begun.map_or(swept_through, |(through, _)| through),
            },
            _ = sweeps.tick(), if has_room && sweep.is_none() => {
                sweep_number = sweep_number.wrapping_add(1);
                let is_again = sweep_number.is_multiple_of(LOOK_AGAIN_EVERY);
                let back = if is_again { micros(LOOK_AGAIN) } else { 0 };
                // Later than the time at which the wait for this tick began.
                let through = processor.clock.now_us().saturating_sub(micros(SWEEP_AFTER));
                sweep = Some((through, due_between(processor, swept_through.saturating_sub(back), through)));
            }
        }
    }
}

/// Waits until a time in microseconds since the epoch.
async fn wait(now: i64, until: Option<i64>) {
    let left = until.map_or(0, |until| u64::try_from(until.saturating_sub(now)).unwrap_or_default());
    tokio::time::sleep(Duration::from_micros(left)).await;
}

/// Returns what a sweep finds next. Cancel-safe.
async fn next_of(sweep: &mut Option<Sweep<'_>>) -> Option<Result<ProcessingRequest, StoreError>> {
    match sweep {
        Some((_, found)) => found.next().await,
        None => None,
    }
}

/// Processes a request within the time limit.
async fn limited<P: Future>(
    request: ProcessingRequest,
    processing: P,
) -> (ProcessingRequest, Result<P::Output, Elapsed>) {
    (request, tokio::time::timeout(TIME_LIMIT, processing).await)
}

/// Processes what a sweep found, unless somebody has done so since.
async fn process_if_due(
    processor: &PaymentProcessor,
    request: ProcessingRequest,
) -> Result<Option<Durable>, RoleError> {
    let read = async || match request {
        ProcessingRequest::OrderId(id) | ProcessingRequest::CancelOrderId(id) => {
            let order = processor.orders.order(OrderId(id), ReadGuarantee::Committed).await?;
            Ok(order.and_then(|order| order.due_at))
        }
        ProcessingRequest::PaymentId(id) => {
            let payment = processor.payments.payment(id, ReadGuarantee::Committed).await?;
            Ok(payment.and_then(|payment| payment.due_at))
        }
    };
    let due_at = processor.retrier.read(read).await?;
    match due_at {
        Some(due_at) if due_at <= processor.clock.now_us() => processor.process(request).await,
        Some(_) | None => Ok(None),
    }
}

fn due_between(
    processor: &PaymentProcessor,
    after: i64,
    through: i64,
) -> BoxStream<'_, Result<ProcessingRequest, StoreError>> {
    let orders = processor.orders.due_orders(after, through).map_ok(|id| ProcessingRequest::OrderId(id.0));
    let payments = processor.payments.due_payments(after, through).map_ok(ProcessingRequest::PaymentId);
    orders.chain(payments).boxed()
}
