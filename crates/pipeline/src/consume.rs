//! Lanes: long-lived tasks that each take a delivery, handle it, settle it. The worker is the permit; there
//! are as many as the limit says.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::concurrency_limit::{self, ConcurrencyBounds, ConcurrencyLimit};
use super::disposition::{Disposition, Handled};
use super::durable::RoleError;
use super::early_payments::{BufferedPayment, EarlyPaymentBuffer, EarlyPaymentSettings};
use ecom_bus::{Backlog, Delivery, ReceivedMessage, Subscription};
use ecom_domain::event_time::EventTime;
use ecom_telemetry::metrics::{DispositionLabel, RoleMetrics};

/// Lanes that look again for the orders of held payments.
const EARLY_PAYMENT_WORKERS: usize = 32;

/// What a role does with a message. Lanes are generic over it, so its futures need no heap block.
pub trait Handler: Send + Sync + 'static {
    /// Settles the message, or asks to look again later where it may.
    fn handle(
        &self,
        received: &ReceivedMessage,
        may_buffer: bool,
    ) -> impl Future<Output = Result<Handled, RoleError>> + Send;

    /// Settles a message on which `handle` panicked.
    fn panicked(
        &self,
        received: &ReceivedMessage,
    ) -> impl Future<Output = Result<Disposition, RoleError>> + Send;

    /// T of the event the message carries.
    fn event_time(&self, received: &ReceivedMessage) -> EventTime {
        received.event_time()
    }
}

/// When a run ends by itself.
#[derive(Clone, Copy, Default, Debug)]
pub struct StopConditions {
    /// After this many deliveries.
    pub count: Option<u64>,
    /// After this long.
    pub duration: Option<Duration>,
    /// After this long without a delivery, unless the bus says that something is left.
    pub idle: Option<Duration>,
}

/// How a role consumes.
pub struct ConsumerSettings {
    /// Where deliveries come from.
    pub subscription: Arc<Subscription>,
    /// Deliveries handled at once.
    pub concurrency: ConcurrencyBounds,
    /// Whether and how payments wait for their orders.
    pub hold: Option<EarlyPaymentSettings>,
    /// When the run ends by itself.
    pub bounds: StopConditions,
    /// What is counted.
    pub metrics: Arc<RoleMetrics>,
    /// Cancelled = stop receiving, settle what is in flight.
    pub stop: CancellationToken,
}

struct Worker<H> {
    handler: Arc<H>,
    subscription: Arc<Subscription>,
    hold: Option<Arc<EarlyPaymentBuffer>>,
    left: Arc<AtomicU64>,
    workers: Arc<WorkerCount>,
    metrics: Arc<RoleMetrics>,
    stop: CancellationToken,
}

/// How many workers there are, and are to be.
#[derive(Default)]
struct WorkerCount {
    there: AtomicUsize,
    wanted: AtomicUsize,
}

impl<H> Clone for Worker<H> {
    fn clone(&self) -> Self {
        Self {
            handler: Arc::clone(&self.handler),
            subscription: Arc::clone(&self.subscription),
            hold: self.hold.clone(),
            left: Arc::clone(&self.left),
            workers: Arc::clone(&self.workers),
            metrics: Arc::clone(&self.metrics),
            stop: self.stop.clone(),
        }
    }
}

/// Consumes until stopped or bounded, settles everything in flight, and flushes the acks.
/// Dropping this future is the crash: everything unsettled goes back to the bus.
pub async fn consume<H: Handler>(handler: Arc<H>, settings: ConsumerSettings) -> Result<(), RoleError> {
    let ConsumerSettings { subscription, concurrency: limit, hold, bounds, metrics, stop } = settings;
    let stop = stop.child_token();
    let mut limit = ConcurrencyLimit::new(limit);
    let held_at_most = hold.map_or(0, |hold| hold.limit);
    let hold = hold.map(|hold| Arc::new(EarlyPaymentBuffer::new(hold, stop.clone())));
    let worker = Worker {
        handler,
        subscription: Arc::clone(&subscription),
        hold: hold.clone(),
        left: Arc::new(AtomicU64::new(bounds.count.unwrap_or(u64::MAX))),
        workers: Arc::default(),
        metrics: Arc::clone(&metrics),
        stop: stop.clone(),
    };
    let mut tasks = JoinSet::new();
    worker.fit(&limit, held_at_most, &mut tasks);
    if let Some(hold) = &hold {
        for _ in 0..EARLY_PAYMENT_WORKERS.min(limit.size()) {
            tasks.spawn(worker.clone().run_held(Arc::clone(hold)));
        }
    }
    let mut watch = JoinSet::new();
    watch.spawn(watch_bounds(bounds, Arc::clone(&metrics), Arc::clone(&subscription), stop.clone()));
    let mut ticks = tokio::time::interval(concurrency_limit::TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut outcome = Ok(());
    loop {
        let ended = tokio::select! {
            biased;
            ended = tasks.join_next() => ended,
            _ = ticks.tick(), if !limit.is_fixed() && !stop.is_cancelled() => {
                let buffered = hold.as_ref().map_or(0, |hold| hold.buffered());
                let in_flight = usize::try_from(metrics.in_flight.get()).unwrap_or_default();
                limit.tick(metrics.finished(), in_flight.saturating_sub(buffered));
                worker.fit(&limit, held_at_most, &mut tasks);
                continue;
            }
        };
        let Some(ended) = ended else { break };
        let ended = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        if let Err(halt) = ended
            && outcome.is_ok()
        {
            stop.cancel();
            outcome = Err(halt);
        }
    }
    watch.abort_all();
    subscription.stop().await;
    outcome
}

impl WorkerCount {
    /// How many are to be added, which are then there.
    fn lacking(&self, wanted: usize) -> usize {
        self.wanted.store(wanted, Ordering::Relaxed);
        let there = self.there.fetch_max(wanted, Ordering::Relaxed);
        wanted.saturating_sub(there)
    }

    /// Whether there is one too many, which then goes.
    fn is_one_too_many(&self) -> bool {
        let wanted = self.wanted.load(Ordering::Relaxed);
        let one_less = |there: usize| (there > wanted).then(|| there - 1);
        self.there.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

async fn watch_bounds(
    bounds: StopConditions,
    metrics: Arc<RoleMetrics>,
    subscription: Arc<Subscription>,
    stop: CancellationToken,
) {
    let ends = bounds.duration.map(|duration| Instant::now() + duration);
    let Some(tick) = bounds.idle.into_iter().chain(bounds.duration).min() else { return };
    let tick = (tick / 10).clamp(Duration::from_millis(5), Duration::from_secs(1));
    let (mut seen, mut since) = (metrics.received.get(), Instant::now());
    while !stop.is_cancelled() {
        tokio::time::sleep(tick).await;
        if metrics.received.get() != seen || metrics.in_flight.get() > 0 {
            (seen, since) = (metrics.received.get(), Instant::now());
        }
        let silent = bounds.idle.is_some_and(|idle| since.elapsed() >= idle);
        // On a starved host silence alone proves nothing.
        let idle = silent && subscription.backlog().await != Backlog::Left;
        if idle || ends.is_some_and(|ends| Instant::now() >= ends) {
            stop.cancel();
        }
    }
}

impl<H: Handler> Worker<H> {
    /// Adds the workers that a limit lacks; one that is too many goes by itself.
    fn fit(&self, limit: &ConcurrencyLimit, held_at_most: usize, tasks: &mut JoinSet<Result<(), RoleError>>) {
        let most = limit.size().saturating_add(held_at_most);
        self.metrics.in_flight_limit.set(i64::try_from(most).unwrap_or(i64::MAX));
        for _ in 0..self.workers.lacking(limit.size()) {
            tasks.spawn(self.clone().run());
        }
    }

    async fn run(self) -> Result<(), RoleError> {
        while !self.workers.is_one_too_many() {
            let delivery = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                delivery = self.subscription.next() => delivery,
            };
            let Some(delivery) = delivery else {
                return Err(RoleError::OperationReport(self.metrics.role.to_owned()));
            };
            if !self.take_one() {
                delivery.nack();
                return Ok(());
            }
            self.metrics.received.inc();
            if delivery.received.attempt > 1 {
                self.metrics.redelivered.inc();
            }
            self.metrics.in_flight.inc();
            self.fresh(delivery).await?;
        }
        Ok(())
    }

    /// Whether the bound on deliveries leaves room for this one.
    fn take_one(&self) -> bool {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_err() || left == Ok(1) {
            self.stop.cancel();
        }
        left.is_ok()
    }

    async fn fresh(&self, delivery: Delivery) -> Result<(), RoleError> {
        let taken = Instant::now();
        match self.step(&delivery.received, self.hold.is_some()).await? {
            Handled::Settled(disposition) => self.settle(delivery, taken, &disposition),
            Handled::AwaitOrder => {
                let kept = match &self.hold {
                    Some(hold) if !self.stop.is_cancelled() => hold.take(delivery, taken),
                    Some(_) | None => Err(delivery),
                };
                match kept {
                    Ok(()) => {
                        self.metrics.buffered.inc();
                    }
                    Err(delivery) if self.stop.is_cancelled() => self.give_back(delivery, taken),
                    Err(delivery) => self.last_look(delivery, taken).await?,
                }
            }
        }
        Ok(())
    }

    async fn run_held(self, hold: Arc<EarlyPaymentBuffer>) -> Result<(), RoleError> {
        while let Some(buffered) = hold.next().await {
            let stopping = self.stop.is_cancelled();
            if !buffered.may_wait() && !stopping {
                self.last_look(buffered.delivery, buffered.taken).await?;
                continue;
            }
            match self.step(&buffered.delivery.received, true).await? {
                Handled::Settled(disposition) => self.settle(buffered.delivery, buffered.taken, &disposition),
                Handled::AwaitOrder if stopping => self.give_back(buffered.delivery, buffered.taken),
                Handled::AwaitOrder => {
                    if let Err(BufferedPayment { delivery, taken, .. }) = hold.wait(buffered) {
                        self.give_back(delivery, taken);
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks once more and does not wait again.
    async fn last_look(&self, delivery: Delivery, taken: Instant) -> Result<(), RoleError> {
        match self.step(&delivery.received, false).await? {
            Handled::Settled(disposition) => self.settle(delivery, taken, &disposition),
            Handled::AwaitOrder => self.give_back(delivery, taken),
        }
        Ok(())
    }

    /// One message's panic is that message's own.
    async fn step(&self, received: &ReceivedMessage, may_buffer: bool) -> Result<Handled, RoleError> {
        match AssertUnwindSafe(self.handler.handle(received, may_buffer)).catch_unwind().await {
            Ok(step) => step,
            Err(_) => {
                tracing::error!(role = self.metrics.role, message.id = received.id, "the handler panicked");
                self.handler.panicked(received).await.map(Handled::Settled)
            }
        }
    }

    fn settle(&self, delivery: Delivery, taken: Instant, disposition: &Disposition) {
        self.metrics.settled(disposition.outcome(), taken.elapsed());
        self.metrics.advance_watermark(self.handler.event_time(&delivery.received));
        self.metrics.in_flight.dec();
        delivery.ack();
    }

    fn give_back(&self, delivery: Delivery, taken: Instant) {
        self.metrics.settled(DispositionLabel::Nacked, taken.elapsed());
        self.metrics.in_flight.dec();
        delivery.nack();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use bytes::Bytes;
    use tokio::sync::mpsc;

    use super::*;
    use crate::durable::Durable;
    use ecom_bus::{Feed, Lease, Message};
    use ecom_domain::reason::Reason;

    /// What became of each delivery, by its id.
    type Settled = Arc<Mutex<Vec<(String, &'static str)>>>;

    struct Noted(String, Settled);

    impl Lease for Noted {
        fn ack(self: Box<Self>) {
            self.1.lock().unwrap().push((self.0.clone(), "ack"));
        }

        fn nack(self: Box<Self>) {
            self.1.lock().unwrap().push((self.0.clone(), "nack"));
        }
    }

    struct NoFeed;

    #[async_trait]
    impl Feed for NoFeed {
        fn answers(&self) -> bool {
            true
        }

        async fn backlog(&self) -> Backlog {
            Backlog::Unknown
        }

        fn close(&self) {}

        async fn stopped(&self) {}
    }

    /// A bus that has something left until it is settled.
    struct SlowFeed(Settled);

    #[async_trait]
    impl Feed for SlowFeed {
        fn answers(&self) -> bool {
            true
        }

        async fn backlog(&self) -> Backlog {
            if self.0.lock().unwrap().is_empty() { Backlog::Left } else { Backlog::Empty }
        }

        fn close(&self) {}

        async fn stopped(&self) {}
    }

    /// Panics on `bad`, asks to hold `early` for ever, applies the rest.
    struct Moody;

    impl Handler for Moody {
        async fn handle(&self, received: &ReceivedMessage, may_buffer: bool) -> Result<Handled, RoleError> {
            match received.message.body.as_ref() {
                b"bad" => panic!("cannot bear this message"),
                b"early" if may_buffer => Ok(Handled::AwaitOrder),
                b"early" => Ok(Handled::Settled(Disposition::DeadLettered(
                    Reason::OrderNotFound,
                    Durable::in_a_test(),
                ))),
                _ => Ok(Handled::Settled(Disposition::Applied(Durable::in_a_test()))),
            }
        }

        async fn panicked(&self, _: &ReceivedMessage) -> Result<Disposition, RoleError> {
            Ok(Disposition::DeadLettered(Reason::HandlerFailed, Durable::in_a_test()))
        }
    }

    /// A store that answers after 100 ms, however much is asked of it at a time.
    #[derive(Default)]
    struct Slow {
        now: AtomicUsize,
        most: AtomicUsize,
    }

    impl Handler for Slow {
        async fn handle(&self, _: &ReceivedMessage, _: bool) -> Result<Handled, RoleError> {
            let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.now.fetch_sub(1, Ordering::Relaxed);
            Ok(Handled::Settled(Disposition::Applied(Durable::in_a_test())))
        }

        async fn panicked(&self, _: &ReceivedMessage) -> Result<Disposition, RoleError> {
            Ok(Disposition::DeadLettered(Reason::HandlerFailed, Durable::in_a_test()))
        }
    }

    fn delivery(id: usize, body: &'static str, fates: &Settled) -> Delivery {
        let message = Message { body: Bytes::from_static(body.as_bytes()), ..Message::default() };
        let received = ReceivedMessage { message, id: id.to_string(), publish_time_us: 1, attempt: 1 };
        let lease = Noted(id.to_string(), Arc::clone(fates));
        Delivery::new(received, Box::new(lease))
    }

    async fn consumed(
        bodies: &[&'static str],
        hold: Option<EarlyPaymentSettings>,
        count: u64,
    ) -> (Settled, Arc<RoleMetrics>) {
        let fates = Settled::default();
        let (sender, receiver) = mpsc::channel(16);
        for (id, body) in bodies.iter().enumerate() {
            sender.send(delivery(id, body, &fates)).await.unwrap();
        }
        let metrics = Arc::new(RoleMetrics::new("test"));
        let settings = ConsumerSettings {
            subscription: Arc::new(Subscription::new(receiver, Box::new(NoFeed))),
            concurrency: ConcurrencyBounds::from(2, 2),
            hold,
            bounds: StopConditions { count: Some(count), ..StopConditions::default() },
            metrics: Arc::clone(&metrics),
            stop: CancellationToken::new(),
        };
        consume(Arc::new(Moody), settings).await.unwrap();
        drop(sender);
        (fates, metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_its_messages_own_and_its_neighbours_go_on() {
        let (fates, metrics) = consumed(&["good", "bad", "good"], None, 3).await;
        assert_eq!(fates.lock().unwrap().len(), 3);
        assert!(fates.lock().unwrap().iter().all(|(_, fate)| *fate == "ack"));
        assert_eq!(metrics.count(DispositionLabel::Applied), 2);
        assert_eq!(metrics.count(DispositionLabel::DeadLettered), 1);
        // Published in the first millisecond, with ids 0 to 2.
        assert_eq!(metrics.newest_event(), Some(EventTime::stored(2)));
        assert_eq!(metrics.in_flight.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_hold_is_no_wait_and_a_stopped_one_gives_back() {
        let grace = Duration::from_secs(2);
        let hold = EarlyPaymentSettings { grace, limit: 1, bytes: 1_000 };
        let (fates, metrics) = consumed(&["early", "early"], Some(hold), 2).await;
        let count = |fate| fates.lock().unwrap().iter().filter(|(_, was)| *was == fate).count();
        assert_eq!(count("ack") + count("nack"), 2);
        assert_eq!(metrics.count(DispositionLabel::Nacked), count("nack") as u64);
        assert_eq!(metrics.in_flight.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_store_gets_more_lanes_which_go_when_they_are_not_needed() {
        let fates = Settled::default();
        let (sender, receiver) = mpsc::channel(5_000);
        for id in 0..5_000 {
            sender.try_send(delivery(id, "good", &fates)).ok().unwrap();
        }
        let (metrics, handler) = (Arc::new(RoleMetrics::new("test")), Arc::new(Slow::default()));
        let settings = ConsumerSettings {
            subscription: Arc::new(Subscription::new(receiver, Box::new(NoFeed))),
            concurrency: ConcurrencyBounds::from(2, 64),
            hold: None,
            bounds: StopConditions { duration: Some(Duration::from_secs(60)), ..StopConditions::default() },
            metrics: Arc::clone(&metrics),
            stop: CancellationToken::new(),
        };
        let consuming = consume(Arc::clone(&handler), settings);
        let watching = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            // Two workers would have done 400 of them.
            (metrics.count(DispositionLabel::Applied), metrics.in_flight_limit.get())
        };
        let (consumed, (applied, limit)) = tokio::join!(consuming, watching);
        consumed.unwrap();
        assert_eq!((applied, handler.most.load(Ordering::Relaxed)), (5_000, 64));
        assert!(limit < 64, "{limit}");
        assert_eq!(metrics.in_flight_limit.get(), 2);
        assert_eq!(metrics.in_flight.get(), 0);
        drop(sender);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_not_taken_for_the_end_while_something_is_left() {
        let fates = Settled::default();
        let (sender, receiver) = mpsc::channel(16);
        let metrics = Arc::new(RoleMetrics::new("test"));
        let settings = ConsumerSettings {
            subscription: Arc::new(Subscription::new(receiver, Box::new(SlowFeed(Arc::clone(&fates))))),
            concurrency: ConcurrencyBounds::from(2, 2),
            hold: None,
            bounds: StopConditions { idle: Some(Duration::from_secs(1)), ..StopConditions::default() },
            metrics: Arc::clone(&metrics),
            stop: CancellationToken::new(),
        };
        let slow = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let _ = sender.send(delivery(1, "good", &fates)).await;
            sender
        };
        let (consumed, _sender) = tokio::join!(consume(Arc::new(Moody), settings), slow);
        consumed.unwrap();
        assert_eq!(metrics.count(DispositionLabel::Applied), 1, "it ended before the message came");
        assert_eq!(*fates.lock().unwrap(), [("1".to_owned(), "ack")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bound_takes_no_more_than_it_says_and_gives_the_rest_back() {
        let (fates, metrics) = consumed(&["good", "good", "good"], None, 2).await;
        assert_eq!(metrics.received.get(), 2);
        let fates = fates.lock().unwrap();
        assert_eq!(fates.iter().filter(|(_, fate)| *fate == "ack").count(), 2);
        assert_eq!(fates.iter().filter(|(_, fate)| *fate == "nack").count(), 1);
    }
}
