//! Consuming a subscription: takes deliveries in groups, as many at a time as the concurrency limit allows, until stopped
//! or a stop condition is met.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::concurrency_limit::{self, ConcurrencyBounds, ConcurrencyLimit};
use super::delivery_counts::DeliveryCounts;
use super::durable::RoleError;
use super::early_payments::{EarlyPaymentBuffer, EarlyPaymentSettings};
use super::event_time_check::EventTimeCheck;
use super::handler::Handler;
use super::processor::{GroupsInFlight, Processor, Tasks};
use super::stop_conditions::StopConditions;
use ecom_bus::{Delivery, Subscription};
use ecom_domain::mutant::{Mutant, is_active};
use ecom_telemetry::metrics::RoleMetrics;

/// The groups in flight up to which a delivery is processed at once, alone if need be. Further ones wait for company.
const PROMPT_GROUPS: usize = 4;
/// The longest time that a delivery waits for company.
const COMPANY: Duration = Duration::from_millis(5);

/// The settings of a consumer.
pub struct ConsumerSettings {
    /// The source of deliveries.
    pub subscription: Arc<Subscription>,
    /// The subscription's short name, for spans.
    pub source: String,
    /// Bounds of the number of deliveries processed at a time.
    pub concurrency: ConcurrencyBounds,
    /// The early-payment buffer; `None` = payments do not wait for their orders.
    pub early_payments: Option<EarlyPaymentSettings>,
    /// End the run without a stop signal.
    pub stop_conditions: StopConditions,
    /// The role's counters.
    pub metrics: Arc<RoleMetrics>,
    /// Once cancelled, nothing more is received, and what is in flight is finished.
    pub stop: CancellationToken,
}

/// Consumes until stopped or a stop condition is met, finishes everything in flight, and flushes the acks.
/// Dropping this future is the crash: the bus delivers everything unacked again.
pub async fn consume<H: Handler>(handler: Arc<H>, settings: ConsumerSettings) -> Result<(), RoleError> {
    let ConsumerSettings {
        subscription,
        source,
        concurrency,
        early_payments,
        stop_conditions,
        metrics,
        stop,
    } = settings;
    let stop = stop.child_token();
    let mut limit = ConcurrencyLimit::new(concurrency);
    let buffer_limit = early_payments.map_or(0, |settings| settings.limit);
    let full = handler.group_size().max(1);
    let processor = Arc::new(Processor {
        handler,
        source: source.clone(),
        buffer: early_payments.map(|settings| EarlyPaymentBuffer::new(settings, stop.clone())),
        counts: DeliveryCounts::default(),
        groups: Arc::new(GroupsInFlight::default()),
        event_times: EventTimeCheck::default(),
        metrics,
        stop: stop.clone(),
    });
    let buffered = || processor.buffer.as_ref().map_or(0, EarlyPaymentBuffer::len);
    let in_flight = || processor.counts.in_flight().saturating_sub(buffered());
    processor.metrics.in_flight_limit.set(total(limit.size(), buffer_limit));
    let mut tasks = Tasks::new();
    if processor.buffer.is_some() {
        tasks.spawn(Arc::clone(&processor).run_early_payments(concurrency.least));
    }
    let mut watch = JoinSet::new();
    let watched = (Arc::clone(&processor), Arc::clone(&subscription));
    watch.spawn(async move {
        let (processor, subscription) = watched;
        stop_conditions.watch(&processor.counts, &subscription, &processor.stop).await;
    });
    let mut ticks = tokio::time::interval(concurrency_limit::TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut company = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
    let mut remaining = stop_conditions.count.unwrap_or(u64::MAX);
    let mut waiting = Vec::new();
    let mut outcome = Ok(());
    loop {
        let room = limit.size().saturating_sub(in_flight());
        let is_time = processor.groups.count() < PROMPT_GROUPS || company.is_elapsed();
        if room > 0 && (waiting.len() >= full || !waiting.is_empty() && is_time) {
            let size = waiting.len().min(full).min(room);
            remaining -= size as u64;
            tasks.spawn(Arc::clone(&processor).take(waiting.drain(..size).collect()));
            if remaining == 0 {
                stop.cancel();
            }
            continue;
        }
        let (is_open, was_empty) = (!stop.is_cancelled(), waiting.is_empty());
        if !is_open {
            waiting.drain(..).for_each(Delivery::nack);
            processor.handler.stopping();
        }
        let wanted = full.min(room).min(usize::try_from(remaining).unwrap_or(usize::MAX));
        let wanted = wanted.saturating_sub(waiting.len());
        tokio::select! {
            biased;
            ended = tasks.join_next(), if !(is_open && tasks.is_empty()) => {
                let Some(ended) = ended else { break };
                if is_active(Mutant::AbandonedOnStop) && stop.is_cancelled() {
                    break;
                }
                let ended = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
                outcome = outcome.and(ended.inspect_err(|_| stop.cancel()));
            }
            () = stop.cancelled(), if is_open => {}
            _ = ticks.tick(), if !limit.is_fixed() && is_open => {
                limit.tick(processor.counts.acked(), in_flight());
                processor.metrics.in_flight_limit.set(total(limit.size(), buffer_limit));
            }
            () = processor.groups.progress(), if is_open => {}
            () = &mut company, if !waiting.is_empty() && room > 0 && !company.is_elapsed() => {}
            is_received = subscription.next_into(&mut waiting, wanted), if is_open && wanted > 0 => {
                if !is_received {
                    stop.cancel();
                    outcome = outcome.and(Err(match subscription.failure() {
                        Some(cause) => RoleError::SubscriptionFailed { subscription: source.clone(), cause },
                        None => RoleError::SubscriptionEnded(source.clone()),
                    }));
                } else if was_empty && waiting.len() < full && processor.groups.count() >= PROMPT_GROUPS {
                    company.as_mut().reset(Instant::now() + COMPANY);
                }
            }
        }
    }
    watch.abort_all();
    subscription.stop().await;
    outcome
}

fn total(size: usize, buffer_limit: usize) -> i64 {
    i64::try_from(size.saturating_add(buffer_limit)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;
    use bytes::Bytes;
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;
    use crate::disposition::Disposition;
    use crate::durable::Durable;
    use crate::handler::{Applied, Decoded, Unapplied};
    use ecom_bus::{Backlog, Delivery, Feed, Lease, Message, ReceivedMessage};
    use ecom_domain::event_time::EventTime;
    use ecom_domain::reason::Reason;
    use ecom_domain::role::Role;
    use ecom_telemetry::metrics::DispositionLabel;

    /// Ids of deliveries, each with `ack` or `nack`.
    type Finished = Arc<Mutex<Vec<(String, &'static str)>>>;

    struct NotedLease(String, Finished);

    impl Lease for NotedLease {
        fn ack(self: Box<Self>) {
            self.1.lock().unwrap().push((self.0.clone(), "ack"));
        }

        fn nack(self: Box<Self>) {
            self.1.lock().unwrap().push((self.0.clone(), "nack"));
        }
    }

    /// A feed that reports no backlog.
    struct QuietFeed;

    #[async_trait]
    impl Feed for QuietFeed {
        fn answers(&self) -> bool {
            true
        }

        async fn backlog(&self) -> Backlog {
            Backlog::Unknown
        }

        fn close(&self) {}

        async fn stopped(&self) {}
    }

    /// A feed that reports a backlog until a delivery is finished.
    struct SlowFeed(Finished);

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

    /// Panics on `bad` and cannot decode `worse`; the order of `early` never arrives; gives `later` back, `soon` when it comes
    /// from the buffer, and `patient` when it is stopping; applies the rest.
    #[derive(Default)]
    struct Moody {
        decodes: AtomicUsize,
        applies: AtomicUsize,
        stopping: CancellationToken,
    }

    impl Handler for Moody {
        type Event<'m> = Cow<'m, [u8]>;

        fn decode<'m>(&self, received: &'m ReceivedMessage) -> Decoded<Self::Event<'m>> {
            self.decodes.fetch_add(1, Ordering::Relaxed);
            assert_ne!(received.message.body.as_ref(), b"worse", "cannot decode this message");
            let event = received.message.body.as_ref().into();
            Decoded { t: received.event_time(), order_id: None, event }
        }

        fn into_owned(event: Self::Event<'_>) -> Self::Event<'static> {
            event.into_owned().into()
        }

        async fn apply(
            &self,
            _: &ReceivedMessage,
            decoded: &Decoded<Self::Event<'_>>,
        ) -> Result<Applied, RoleError> {
            let applies = self.applies.fetch_add(1, Ordering::Relaxed);
            match decoded.event.as_ref() {
                b"bad" => panic!("cannot bear this message"),
                b"soon" if applies == 0 => Ok(Applied::AwaitOrder),
                b"early" => Ok(Applied::AwaitOrder),
                b"later" | b"soon" => Ok(Applied::GiveBack),
                b"patient" => {
                    self.stopping.cancelled().await;
                    Ok(Applied::GiveBack)
                }
                _ => Ok(Applied::Done(Disposition::Applied(Durable::in_a_test()))),
            }
        }

        fn stopping(&self) {
            self.stopping.cancel();
        }

        async fn dead_letter(
            &self,
            _: &ReceivedMessage,
            _: Option<&Decoded<Self::Event<'_>>>,
            cause: Unapplied,
        ) -> Result<Disposition, RoleError> {
            let reason = match cause {
                Unapplied::OrderMissing => Reason::OrderNotFound,
                Unapplied::Panicked => Reason::HandlerFailed,
            };
            Ok(Disposition::DeadLettered(reason, Durable::in_a_test()))
        }
    }

    /// A store that answers after 100 ms, however many calls are in flight.
    #[derive(Default)]
    struct Slow {
        now: AtomicUsize,
        most: AtomicUsize,
    }

    impl Handler for Slow {
        type Event<'m> = ();

        fn decode(&self, received: &ReceivedMessage) -> Decoded<()> {
            Decoded { t: received.event_time(), order_id: None, event: () }
        }

        fn into_owned((): ()) {}

        async fn apply(
            &self,
            _: &ReceivedMessage,
            _: &Decoded<Self::Event<'_>>,
        ) -> Result<Applied, RoleError> {
            let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.now.fetch_sub(1, Ordering::Relaxed);
            Ok(Applied::Done(Disposition::Applied(Durable::in_a_test())))
        }

        async fn dead_letter(
            &self,
            _: &ReceivedMessage,
            _: Option<&Decoded<Self::Event<'_>>>,
            _: Unapplied,
        ) -> Result<Disposition, RoleError> {
            Ok(Disposition::DeadLettered(Reason::HandlerFailed, Durable::in_a_test()))
        }
    }

    fn delivery(id: usize, body: &'static str, finished: &Finished) -> Delivery {
        let message = Message { body: Bytes::from_static(body.as_bytes()), ..Message::default() };
        let received = ReceivedMessage { message, id: id.to_string(), publish_time_us: 1, attempt: 1 };
        let lease = NotedLease(id.to_string(), Arc::clone(finished));
        Delivery::new(received, Box::new(lease))
    }

    fn settings(
        receiver: mpsc::Receiver<Delivery>,
        feed: impl Feed + 'static,
        concurrency: ConcurrencyBounds,
        stop_conditions: StopConditions,
    ) -> ConsumerSettings {
        ConsumerSettings {
            subscription: Arc::new(Subscription::new(receiver, Box::new(feed))),
            source: "test-sub".to_owned(),
            concurrency,
            early_payments: None,
            stop_conditions,
            metrics: Arc::new(RoleMetrics::new(Role::OrderConsumer)),
            stop: CancellationToken::new(),
        }
    }

    /// Consumes until that many deliveries were taken.
    async fn consume_count(bodies: &[&'static str], count: u64) -> (Finished, Arc<RoleMetrics>) {
        let finished = Finished::default();
        let (sender, receiver) = mpsc::channel(16);
        for (id, body) in bodies.iter().enumerate() {
            sender.send(delivery(id, body, &finished)).await.unwrap();
        }
        let stop_conditions = StopConditions { count: Some(count), ..StopConditions::default() };
        let settings = settings(receiver, QuietFeed, ConcurrencyBounds::new(2, 2), stop_conditions);
        let metrics = Arc::clone(&settings.metrics);
        consume(Arc::new(Moody::default()), settings).await.unwrap();
        drop(sender);
        (finished, metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_dead_letters_its_message_and_the_others_are_applied() {
        let (finished, metrics) = consume_count(&["worse", "good", "bad", "good"], 4).await;
        assert_eq!(finished.lock().unwrap().len(), 4);
        assert!(finished.lock().unwrap().iter().all(|(_, how)| *how == "ack"));
        assert_eq!(metrics.count(DispositionLabel::Applied), 2);
        assert_eq!(metrics.count(DispositionLabel::DeadLettered), 2);
        // Published in the first millisecond, with ids 0 to 3.
        assert_eq!(metrics.newest_event(), Some(EventTime::stored(3)));
        assert_eq!(metrics.in_flight.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_handler_gives_back_is_nacked_at_once_also_from_the_buffer() {
        for (body, waits) in [("later", 0), ("soon", 1)] {
            let finished = Finished::default();
            let (sender, receiver) = mpsc::channel(16);
            sender.send(delivery(1, body, &finished)).await.unwrap();
            let idle = Some(Duration::from_secs(1));
            let stop_conditions = StopConditions { idle, ..StopConditions::default() };
            let grace = Duration::from_secs(3_600);
            let settings = ConsumerSettings {
                early_payments: Some(EarlyPaymentSettings { grace, limit: 1, bytes: 1_000 }),
                ..settings(receiver, QuietFeed, ConcurrencyBounds::new(2, 2), stop_conditions)
            };
            let (metrics, handler) = (Arc::clone(&settings.metrics), Arc::new(Moody::default()));
            consume(Arc::clone(&handler), settings).await.unwrap();
            assert_eq!(*finished.lock().unwrap(), [("1".to_owned(), "nack")], "{body}");
            assert_eq!(metrics.count(DispositionLabel::Nacked), 1, "{body}");
            assert_eq!(metrics.in_flight.get(), 0, "{body}");
            assert_eq!(handler.applies.load(Ordering::Relaxed), 1 + waits, "{body}");
            drop(sender);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_waits_learns_that_the_run_ends_and_gives_back() {
        let (finished, metrics) = consume_count(&["patient", "good"], 2).await;
        let mut finished = finished.lock().unwrap().clone();
        finished.sort();
        assert_eq!(finished, [("0".to_owned(), "nack"), ("1".to_owned(), "ack")]);
        assert_eq!(metrics.count(DispositionLabel::Nacked), 1);
    }

    /// Applies messages in groups of at most ten, which takes 100 ms; `stuck` for ever. Panics on a group with `bad`, and
    /// applies `alone` and what it panicked on alone, at once.
    #[derive(Default)]
    struct Grouping {
        groups: Mutex<Vec<usize>>,
        alone: AtomicUsize,
    }

    impl Handler for Grouping {
        type Event<'m> = Cow<'m, [u8]>;

        fn decode<'m>(&self, received: &'m ReceivedMessage) -> Decoded<Self::Event<'m>> {
            let event = received.message.body.as_ref().into();
            Decoded { t: received.event_time(), order_id: None, event }
        }

        fn into_owned(event: Self::Event<'_>) -> Self::Event<'static> {
            event.into_owned().into()
        }

        async fn apply(
            &self,
            _: &ReceivedMessage,
            _: &Decoded<Self::Event<'_>>,
        ) -> Result<Applied, RoleError> {
            self.alone.fetch_add(1, Ordering::Relaxed);
            Ok(Applied::Done(Disposition::Applied(Durable::in_a_test())))
        }

        async fn apply_together<'e>(
            &self,
            group: &[(&ReceivedMessage, &Decoded<Self::Event<'e>>)],
        ) -> Vec<Option<Applied>> {
            self.groups.lock().unwrap().push(group.len());
            let has = |body: &[u8]| group.iter().any(|(_, decoded)| decoded.event.as_ref() == body);
            tokio::time::sleep(Duration::from_millis(100)).await;
            if has(b"stuck") {
                std::future::pending::<()>().await;
            }
            assert!(!has(b"bad"), "cannot bear this group");
            let done = || Applied::Done(Disposition::Applied(Durable::in_a_test()));
            group.iter().map(|(_, decoded)| (decoded.event.as_ref() != b"alone").then(done)).collect()
        }

        fn group_size(&self) -> usize {
            10
        }

        async fn dead_letter(
            &self,
            _: &ReceivedMessage,
            _: Option<&Decoded<Self::Event<'_>>>,
            _: Unapplied,
        ) -> Result<Disposition, RoleError> {
            panic!("nothing is dead-lettered");
        }
    }

    /// Consumes these messages, which are all there at the start, in groups.
    async fn consume_grouped(bodies: &[&'static str]) -> Arc<Grouping> {
        let finished = Finished::default();
        let (sender, receiver) = mpsc::channel(bodies.len());
        for (id, body) in bodies.iter().enumerate() {
            sender.send(delivery(id, body, &finished)).await.unwrap();
        }
        let stop_conditions =
            StopConditions { count: Some(bodies.len() as u64), ..StopConditions::default() };
        let settings = settings(receiver, QuietFeed, ConcurrencyBounds::new(64, 64), stop_conditions);
        let handler = Arc::new(Grouping::default());
        consume(Arc::clone(&handler), settings).await.unwrap();
        let mut finished = std::mem::take(&mut *finished.lock().unwrap());
        finished.sort_by_key(|(id, _)| id.parse::<usize>().unwrap());
        let all = (0..bodies.len()).map(|id| (id.to_string(), "ack"));
        assert!(finished.into_iter().eq(all), "each is acked once");
        drop(sender);
        handler
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_applied_in_groups_within_the_concurrency_limit() {
        let started = Instant::now();
        let handler = consume_grouped(&["good"; 85]).await;
        assert_eq!(*handler.groups.lock().unwrap(), [10, 10, 10, 10, 10, 10, 4, 10, 10, 1]);
        assert_eq!(handler.alone.load(Ordering::Relaxed), 0);
        assert_eq!(started.elapsed(), Duration::from_millis(200), "64 deliveries, then 21");
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_applied_together_is_applied_alone() {
        let handler = consume_grouped(&["good", "alone", "good", "alone"]).await;
        assert_eq!(handler.alone.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_panic_each_of_the_group_is_applied_alone() {
        let handler = consume_grouped(&["good", "bad", "good"]).await;
        assert_eq!(handler.alone.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delivery_waits_for_company_only_while_groups_are_in_flight_and_not_for_long() {
        let finished = Finished::default();
        let (sender, receiver) = mpsc::channel(16);
        let settings =
            settings(receiver, QuietFeed, ConcurrencyBounds::new(64, 64), StopConditions::default());
        let handler = Arc::new(Grouping::default());
        let mut consuming = std::pin::pin!(consume(Arc::clone(&handler), settings));
        let step = Duration::from_micros(100);
        let mut sizes = Vec::new();
        for (id, body) in ["stuck"; PROMPT_GROUPS].into_iter().chain(["good"; 2]).enumerate() {
            sender.send(delivery(id, body, &finished)).await.unwrap();
            assert!(tokio::time::timeout(step, &mut consuming).await.is_err());
            sizes.push(handler.groups.lock().unwrap().len());
        }
        assert_eq!(sizes, [1, 2, 3, 4, 4, 4], "the last two wait for company");
        assert!(tokio::time::timeout(COMPANY, &mut consuming).await.is_err());
        assert_eq!(*handler.groups.lock().unwrap(), [1, 1, 1, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_buffer_dead_letters_at_once_and_a_stop_nacks_what_is_buffered() {
        let finished = Finished::default();
        let (sender, receiver) = mpsc::channel(16);
        for id in 0..3 {
            sender.send(delivery(id, "early", &finished)).await.unwrap();
        }
        let grace = Duration::from_secs(3_600);
        let settings = ConsumerSettings {
            early_payments: Some(EarlyPaymentSettings { grace, limit: 1, bytes: 1_000 }),
            ..settings(receiver, QuietFeed, ConcurrencyBounds::new(2, 2), StopConditions::default())
        };
        let (metrics, stop) = (Arc::clone(&settings.metrics), settings.stop.clone());
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let acked = [1, 2].map(|id: usize| (id.to_string(), "ack"));
            assert_eq!(*finished.lock().unwrap(), acked, "the buffer is full of the first");
            assert_eq!(metrics.count(DispositionLabel::DeadLettered), 2);
            assert_eq!((metrics.buffered.get(), metrics.in_flight.get()), (1, 1));
            stop.cancel();
        };
        let handler = Arc::new(Moody::default());
        let (consumed, ()) = tokio::join!(consume(Arc::clone(&handler), settings), stopping);
        consumed.unwrap();
        assert_eq!(finished.lock().unwrap().last(), Some(&("0".to_owned(), "nack")));
        assert_eq!(metrics.count(DispositionLabel::Nacked), 1);
        assert_eq!(metrics.in_flight.get(), 0);
        drop(sender);
    }

    #[tokio::test(start_paused = true)]
    async fn an_early_payment_is_decoded_once_and_dead_lettered_when_its_grace_period_ends() {
        let finished = Finished::default();
        let (sender, receiver) = mpsc::channel(16);
        sender.send(delivery(1, "early", &finished)).await.unwrap();
        let idle = Some(Duration::from_secs(10));
        let stop_conditions = StopConditions { idle, ..StopConditions::default() };
        let grace = Duration::from_secs(2);
        let settings = ConsumerSettings {
            early_payments: Some(EarlyPaymentSettings { grace, limit: 1, bytes: 1_000 }),
            ..settings(receiver, QuietFeed, ConcurrencyBounds::new(2, 2), stop_conditions)
        };
        let metrics = Arc::clone(&settings.metrics);
        let handler = Arc::new(Moody::default());
        consume(Arc::clone(&handler), settings).await.unwrap();
        assert_eq!(*finished.lock().unwrap(), [("1".to_owned(), "ack")]);
        assert_eq!(metrics.count(DispositionLabel::DeadLettered), 1);
        let looks = (handler.decodes.load(Ordering::Relaxed), handler.applies.load(Ordering::Relaxed));
        assert_eq!(looks, (1, 5), "at its arrival, and four times within the grace period");
        assert_eq!(metrics.quantile(0.5).as_secs(), 2);
        drop(sender);
    }

    /// A store that has no order and answers after 100 ms, not before the end of its outage. Notes the time of
    /// each dead letter.
    struct Orderless {
        started: Instant,
        outage: Duration,
        dead_letters: Mutex<Vec<(String, Duration)>>,
    }

    impl Handler for Orderless {
        type Event<'m> = ();

        fn decode(&self, received: &ReceivedMessage) -> Decoded<()> {
            Decoded { t: received.event_time(), order_id: None, event: () }
        }

        fn into_owned((): ()) {}

        async fn apply(
            &self,
            _: &ReceivedMessage,
            _: &Decoded<Self::Event<'_>>,
        ) -> Result<Applied, RoleError> {
            let (from, until) = (self.started + Duration::from_secs(1), self.started + self.outage);
            if (from..until).contains(&Instant::now()) {
                tokio::time::sleep_until(until).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(Applied::AwaitOrder)
        }

        async fn dead_letter(
            &self,
            received: &ReceivedMessage,
            _: Option<&Decoded<Self::Event<'_>>>,
            _: Unapplied,
        ) -> Result<Disposition, RoleError> {
            self.dead_letters.lock().unwrap().push((received.id.clone(), self.started.elapsed()));
            Ok(Disposition::DeadLettered(Reason::OrderNotFound, Durable::in_a_test()))
        }
    }

    /// Consumes 5,000 payments without orders, with a grace period of 2 s. Returns the times of the first and
    /// the last dead letter since the start.
    async fn dead_letter_early_payments(outage: Duration) -> (Duration, Duration) {
        const PAYMENTS: usize = 5_000;
        let finished = Finished::default();
        let (sender, receiver) = mpsc::channel(PAYMENTS);
        for id in 0..PAYMENTS {
            sender.try_send(delivery(id, "early", &finished)).ok().unwrap();
        }
        let grace = Duration::from_secs(2);
        let duration = Some(outage + Duration::from_secs(60));
        let stop_conditions = StopConditions { duration, ..StopConditions::default() };
        let settings = ConsumerSettings {
            early_payments: Some(EarlyPaymentSettings { grace, limit: PAYMENTS, bytes: 1 << 20 }),
            ..settings(receiver, QuietFeed, ConcurrencyBounds::new(1_024, 1_024), stop_conditions)
        };
        let handler = Arc::new(Orderless { started: Instant::now(), outage, dead_letters: Mutex::default() });
        consume(Arc::clone(&handler), settings).await.unwrap();
        let dead_letters = std::mem::take(&mut *handler.dead_letters.lock().unwrap());
        let distinct: std::collections::BTreeSet<_> = dead_letters.iter().map(|(id, _)| id).collect();
        assert_eq!((dead_letters.len(), distinct.len()), (PAYMENTS, PAYMENTS));
        assert!(finished.lock().unwrap().iter().all(|(_, how)| *how == "ack"));
        drop(sender);
        (dead_letters[0].1, dead_letters[PAYMENTS - 1].1)
    }

    #[tokio::test(start_paused = true)]
    async fn the_grace_period_is_kept_however_many_payments_wait_and_however_slow_the_store() {
        let (first, last) = dead_letter_early_payments(Duration::ZERO).await;
        // They arrive within half a second, and the last check takes 0.1 s.
        assert!(first >= Duration::from_millis(2_100), "{first:?}");
        assert!(last <= Duration::from_millis(3_600), "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn payments_whose_grace_period_ended_in_an_outage_are_dead_lettered_once_when_it_is_over() {
        let outage = Duration::from_secs(30);
        let (first, last) = dead_letter_early_payments(outage).await;
        assert!(first >= outage, "{first:?}");
        assert!(last <= outage + Duration::from_secs(1), "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_store_gets_more_deliveries_at_a_time_while_they_are_needed() {
        let finished = Finished::default();
        let (sender, receiver) = mpsc::channel(5_000);
        for id in 0..5_000 {
            sender.try_send(delivery(id, "good", &finished)).ok().unwrap();
        }
        let handler = Arc::new(Slow::default());
        let duration = Some(Duration::from_secs(60));
        let stop_conditions = StopConditions { duration, ..StopConditions::default() };
        let settings = settings(receiver, QuietFeed, ConcurrencyBounds::new(2, 64), stop_conditions);
        let metrics = Arc::clone(&settings.metrics);
        let consuming = consume(Arc::clone(&handler), settings);
        let watching = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            // Two at a time would have done 400 of them.
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
    async fn an_idle_consumer_goes_on_while_the_bus_reports_a_backlog() {
        let finished = Finished::default();
        let (sender, receiver) = mpsc::channel(16);
        let idle = Some(Duration::from_secs(1));
        let stop_conditions = StopConditions { idle, ..StopConditions::default() };
        let feed = SlowFeed(Arc::clone(&finished));
        let settings = settings(receiver, feed, ConcurrencyBounds::new(2, 2), stop_conditions);
        let metrics = Arc::clone(&settings.metrics);
        let slow = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let _ = sender.send(delivery(1, "good", &finished)).await;
            sender
        };
        let (consumed, _sender) = tokio::join!(consume(Arc::new(Moody::default()), settings), slow);
        consumed.unwrap();
        assert_eq!(metrics.count(DispositionLabel::Applied), 1, "it ended before the message came");
        assert_eq!(*finished.lock().unwrap(), [("1".to_owned(), "ack")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bounded_run_takes_no_more_than_its_count_and_nacks_the_rest() {
        let (finished, metrics) = consume_count(&["good", "good", "good"], 2).await;
        assert_eq!(metrics.received.get(), 2);
        let finished = finished.lock().unwrap();
        assert_eq!(finished.iter().filter(|(_, how)| *how == "ack").count(), 2);
        assert_eq!(finished.iter().filter(|(_, how)| *how == "nack").count(), 1);
    }
}
