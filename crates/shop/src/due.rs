//! Orders and payments that are due later: unpaid orders that expire, paid ones that complete, and whatever a process left
//! unfinished.
//!
//! A record says itself when it is due, so nothing depends on the process that set the time. That process keeps a timer and
//! is exact. What its timers miss, because it was killed or had too many, the sweep of any processor finds a little later.
//! Both only publish a request to process it. So the bus delivers it until it is done: a record that has reached its final
//! state is due no more, and whoever moved it there may have been killed before the event of that state.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::processor::PaymentProcessor;
use ecom_bus::Message;
use ecom_clock::{LogThrottle, micros};
use ecom_domain::order::OrderId;
use ecom_pipeline::durable::RoleError;
use ecom_shop_domain::request::ProcessingRequest;
use ecom_shop_store::ReadGuarantee;
use ecom_store::StoreError;

/// The most timers of a process; what is due beyond them is left to the sweep.
const TIMERS: usize = 100_000;
/// The most new timers that wait to be taken over.
const NEW_TIMERS: usize = 4_096;
/// The most requests that are published at the same time.
const CONCURRENCY: usize = 256;
/// The time between two sweeps.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// The time after which a sweep that failed begins again.
const SWEEP_RETRY: Duration = Duration::from_secs(1);
/// The time after which the sweep takes what is due, so that it leaves to the timers what they are about to do.
const SWEEP_AFTER: Duration = Duration::from_secs(10);
/// The shortest time between two warnings about sweeps that fail.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// The sweeps after which one looks back again, for what a process that was frozen has set to be due in the past.
const LOOK_AGAIN_EVERY: u32 = 6;
/// How far such a sweep looks back.
const LOOK_AGAIN: Duration = Duration::from_secs(5 * 60);
/// The time after which something that is still due is asked for again by the same process.
const ASK_AGAIN: Duration = Duration::from_secs(2 * 60);
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

/// Publishes requests for what is due, until stopped and what is being published has its receipt.
pub async fn run(
    processor: &PaymentProcessor,
    NewTimers(mut new_timers): NewTimers,
    stop: CancellationToken,
) -> Result<(), RoleError> {
    let mut timers = BinaryHeap::new();
    // What this process has asked for, and when that was due: while the message waits, another one is of no use.
    let mut asked: HashMap<ProcessingRequest, i64> = HashMap::new();
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
            Some(done) = running.next() => asked.extend(done?),
            () = wait(now, next), if has_room && next.is_some() => {
                if let Some(Reverse((due_at, request))) = timers.pop() {
                    running.push(ask(processor, request, Some(due_at), asked.get(&request).copied()));
                }
            }
            Some(timer) = new_timers.recv(), if is_open && timers.len() < TIMERS => timers.push(Reverse(timer)),
            found = next_of(&mut sweep), if has_room && sweep.is_some() => match (found, sweep.take()) {
                (Some(Ok(request)), begun) => {
                    running.push(ask(processor, request, None, asked.get(&request).copied()));
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
                asked.retain(|_, due_at| *due_at > through.saturating_sub(micros(ASK_AGAIN)));
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

/// Publishes a request for what is due at `due_at`, or, found by a sweep, for what the record says is due, unless this
/// process has asked for it when it was due at `asked`. Returns the request and when it was due if it was published.
async fn ask(
    processor: &PaymentProcessor,
    request: ProcessingRequest,
    due_at: Option<i64>,
    asked: Option<i64>,
) -> Result<Option<(ProcessingRequest, i64)>, RoleError> {
    let due_at = match due_at {
        Some(due_at) => Some(due_at),
        None => due_at_of(processor, request).await?.filter(|due_at| *due_at <= processor.clock.now_us()),
    };
    let Some(due_at) = due_at.filter(|due_at| Some(*due_at) != asked) else { return Ok(None) };
    let message = Message { body: request.encode().into(), ..Message::default() };
    processor.retrier.publish(processor.requests.as_ref(), &message).await?;
    Ok(Some((request, due_at)))
}

async fn due_at_of(
    processor: &PaymentProcessor,
    request: ProcessingRequest,
) -> Result<Option<i64>, RoleError> {
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
    processor.retrier.read(read).await
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
