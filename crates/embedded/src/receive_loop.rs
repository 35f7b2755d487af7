//! The receive loop of a subscription: one task that leases messages from the file and writes acks and nacks
//! back, for as long as the subscription is open.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::engine::Engine;
use super::job::EngineError;
use super::outstanding::{Outstanding, Room};
use super::receive_transaction::{
    self, DeliveryRange, DeliveryResponse, DeliveryToken, LONGEST_ACK_DEADLINE, Leased, LeasedMessage,
    ReceiveTransaction, SubscriptionRow,
};
use super::topic_notifier::TopicNotifier;
use ecom_bus::{Backlog, Delivery, Feed, Lease, Message, ReceivedMessage, SubscribeOptions, Subscription};
use ecom_clock::{Clock, micros};
use ecom_domain::backoff::Backoff;

/// The most messages leased in one transaction. Bounds how long the file is locked.
const BATCH: usize = 512;
/// The shortest interval at which the loop polls for messages of other processes, used after a delivery …
const POLL_MIN: Duration = Duration::from_millis(10);
/// … and the longest, reached by doubling while there are none.
const POLL_MAX: Duration = Duration::from_millis(100);
/// The shortest ack deadline. A shorter one would be extended without pause.
const SHORTEST_ACK_DEADLINE: Duration = Duration::from_millis(3);
/// The number of times a lease is extended within one ack deadline.
const EXTENSIONS: u32 = 3;

/// Starts the receive loop of a subscription.
pub(super) fn start(
    engine: Engine,
    row: SubscriptionRow,
    name: String,
    notifier: TopicNotifier,
    clock: Clock,
    options: SubscribeOptions,
    intake_bytes: usize,
) -> Subscription {
    let (intake, deliveries) = mpsc::channel(options.buffer.max(1));
    let stop = StopSignals::default();
    let healthy = Arc::new(AtomicBool::new(true));
    let failure = Arc::new(OnceLock::new());
    let handle = FeedHandle {
        stop: stop.clone(),
        healthy: healthy.clone(),
        failure: failure.clone(),
        engine: engine.clone(),
        row,
    };
    let receive_loop = ReceiveLoop {
        engine,
        row,
        name,
        notifications: notifier.subscribe(),
        notifier,
        clock,
        ack_deadline: options.ack_deadline.clamp(SHORTEST_ACK_DEADLINE, LONGEST_ACK_DEADLINE),
        intake: Some(intake),
        responses: Arc::default(),
        outstanding: Outstanding::new(options.max_outstanding, intake_bytes),
        unwritten: Vec::new(),
        finished_ranges: Vec::new(),
        may_have_more: true,
        poll_interval: POLL_MIN,
        next_extension: Instant::now(),
        failures: 0,
        healthy,
        failure,
        stop,
    };
    tokio::spawn(receive_loop.run());
    Subscription::new(deliveries, Box::new(handle))
}

/// The stages of stopping a subscription.
#[derive(Clone, Default)]
struct StopSignals {
    /// Lease no more messages.
    closed: CancellationToken,
    /// Do not wait for outstanding deliveries.
    abandoned: CancellationToken,
    /// The loop has ended.
    ended: CancellationToken,
}

/// The receive loop as its subscription sees it.
struct FeedHandle {
    stop: StopSignals,
    healthy: Arc<AtomicBool>,
    failure: Arc<OnceLock<String>>,
    engine: Engine,
    row: SubscriptionRow,
}

#[async_trait]
impl Feed for FeedHandle {
    fn answers(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    async fn backlog(&self) -> Backlog {
        let row = self.row;
        match self.engine.read(move |connection| receive_transaction::has_unacked(connection, row)).await {
            Ok(false) => Backlog::Empty,
            Ok(true) | Err(_) => Backlog::Left,
        }
    }

    fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    fn close(&self) {
        self.stop.closed.cancel();
    }

    async fn stopped(&self) {
        self.stop.ended.cancelled().await;
    }
}

impl Drop for FeedHandle {
    fn drop(&mut self) {
        self.stop.abandoned.cancel();
    }
}

/// Acks and nacks that the loop has not fetched yet. Bounded by the number of outstanding deliveries.
#[derive(Default)]
struct ResponseQueue {
    responses: Mutex<Vec<DeliveryResponse>>,
    filled: Notify,
}

impl ResponseQueue {
    fn push(&self, response: DeliveryResponse) {
        self.responses.lock().unwrap_or_else(PoisonError::into_inner).push(response);
        self.filled.notify_one();
    }

    fn take(&self) -> Vec<DeliveryResponse> {
        std::mem::take(&mut *self.responses.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The lease of one delivery. Dropping it nacks.
struct DeliveryLease {
    token: DeliveryToken,
    responses: Arc<ResponseQueue>,
    acked: bool,
}

impl Lease for DeliveryLease {
    fn ack(mut self: Box<Self>) {
        self.acked = true;
        self.responses.push(DeliveryResponse::Acked(self.token));
    }

    fn nack(self: Box<Self>) {
        drop(self);
    }
}

impl Drop for DeliveryLease {
    fn drop(&mut self) {
        if !self.acked {
            self.responses.push(DeliveryResponse::Nacked(self.token));
        }
    }
}

/// The state of a receive loop.
struct ReceiveLoop {
    engine: Engine,
    row: SubscriptionRow,
    name: String,
    notifier: TopicNotifier,
    notifications: watch::Receiver<()>,
    clock: Clock,
    ack_deadline: Duration,
    /// The channel to the subscriber; dropped on closing, which ends the subscriber's wait.
    intake: Option<mpsc::Sender<Delivery>>,
    responses: Arc<ResponseQueue>,
    outstanding: Outstanding,
    /// The responses that are not known to be durable.
    unwritten: Vec<DeliveryResponse>,
    /// The ranges of first deliveries that all have a response, and are not known to be ended in the file.
    finished_ranges: Vec<DeliveryRange>,
    /// True while the file may have messages to lease.
    may_have_more: bool,
    poll_interval: Duration,
    next_extension: Instant,
    failures: u32,
    /// True if the last transaction succeeded.
    healthy: Arc<AtomicBool>,
    /// The error that ended the loop.
    failure: Arc<OnceLock<String>>,
    stop: StopSignals,
}

impl ReceiveLoop {
    async fn run(mut self) {
        let _ended = self.stop.ended.clone().drop_guard();
        loop {
            self.fetch_responses();
            if self.stop.abandoned.is_cancelled() {
                // One attempt: no caller waits for it, and leases expire by themselves.
                if !self.unwritten.is_empty() {
                    let _ = self.transact(Room { messages: 0, ..self.room() }, false).await;
                }
                return;
            }
            if self.stop.closed.is_cancelled() {
                self.intake = None;
                if self.outstanding.is_empty() && self.unwritten.is_empty() {
                    return;
                }
            }
            let room = self.room();
            let extends = !self.outstanding.is_empty() && Instant::now() >= self.next_extension;
            if (room.messages == 0 || !self.may_have_more) && !extends && self.unwritten.is_empty() {
                self.wait().await;
                continue;
            }
            match self.transact(room, extends).await {
                Ok(leased) => self.deliver(leased, room),
                Err(error) if error.is_lasting() => {
                    self.healthy.store(false, Ordering::Relaxed);
                    self.failure.get_or_init(|| error.to_string());
                    return;
                }
                Err(error) => self.back_off(&error).await,
            }
        }
    }

    fn fetch_responses(&mut self) {
        let responses = self.responses.take();
        for response in &responses {
            let (DeliveryResponse::Acked(token) | DeliveryResponse::Nacked(token)) = response;
            self.finished_ranges.extend(self.outstanding.remove(*token));
        }
        self.unwritten.extend(responses);
    }

    /// Returns the room for messages that may be leased now.
    fn room(&self) -> Room {
        let room = self.outstanding.room();
        let capacity = self.intake.as_ref().map_or(0, mpsc::Sender::capacity);
        Room { messages: room.messages.min(capacity).min(BATCH), ..room }
    }

    async fn transact(&mut self, room: Room, extends: bool) -> Result<Leased, EngineError> {
        let now = self.clock.now_us();
        let until = now.saturating_add(micros(self.ack_deadline));
        let (extended, extended_ranges) = match extends {
            true => (self.outstanding.redeliveries(), self.outstanding.ranges()),
            false => (Vec::new(), Vec::new()),
        };
        let restarts_extensions = extends || self.outstanding.is_empty();
        let responses = self.unwritten.clone();
        let nacks = responses.iter().any(|response| matches!(response, DeliveryResponse::Nacked(_)));
        let finished_ranges = self.finished_ranges.clone();
        let transaction = ReceiveTransaction {
            row: self.row,
            responses,
            extended,
            extended_ranges,
            finished_ranges,
            room,
            now,
            until,
        };
        let leased = self.engine.write(move |connection| transaction.run(connection)).await?;
        self.unwritten.clear();
        self.finished_ranges.clear();
        if restarts_extensions {
            self.next_extension = Instant::now() + self.ack_deadline / EXTENSIONS;
        }
        if nacks {
            self.notifier.notify();
        }
        if self.failures > 0 {
            tracing::info!(failures = self.failures, "receiving from {} works again", self.name);
            self.failures = 0;
            self.healthy.store(true, Ordering::Relaxed);
        }
        Ok(leased)
    }

    fn deliver(&mut self, leased: Leased, room: Room) {
        let Leased { messages, new, next_bytes, .. } = leased;
        if room.messages > 0 {
            self.may_have_more = messages.len() == room.messages || next_bytes > 0;
            self.outstanding.set_next_bytes(next_bytes);
        }
        if !messages.is_empty() {
            self.poll_interval = POLL_MIN;
        }
        new.into_iter().for_each(|range| self.outstanding.insert_range(range));
        for message in messages {
            self.finished_ranges.extend(self.outstanding.insert(message.token, message.bytes()));
            let LeasedMessage { token, publish_time, attributes, body } = message;
            let lease = DeliveryLease { token, responses: Arc::clone(&self.responses), acked: false };
            let attributes: BTreeMap<String, String> = match serde_json::from_str(&attributes) {
                Ok(attributes) => attributes,
                Err(error) => {
                    // The error itself would quote a value.
                    let column = error.column();
                    tracing::warn!(
                        message.id = token.message,
                        column,
                        "attributes are not a JSON object of strings"
                    );
                    BTreeMap::new()
                }
            };
            let received = ReceivedMessage {
                message: Message { body: Bytes::from(body), attributes: attributes.into_iter().collect() },
                id: token.message.to_string(),
                publish_time_us: publish_time,
                attempt: token.attempt,
            };
            if let Some(intake) = &self.intake {
                // Fails only after the subscriber has gone; dropping the delivery then nacks it.
                let _ = intake.try_send(Delivery::new(received, Box::new(lease)));
            }
        }
    }

    /// Waits for an event that needs a transaction.
    async fn wait(&mut self) {
        let is_open = self.intake.is_some();
        let is_full = self.intake.as_ref().is_some_and(|intake| intake.capacity() == 0);
        let polls = is_open && self.room().messages > 0;
        tokio::select! {
            biased;
            () = self.stop.abandoned.cancelled() => {}
            () = self.stop.closed.cancelled(), if is_open => {}
            () = self.responses.filled.notified() => {}
            Ok(()) = self.notifications.changed(), if is_open => self.may_have_more = true,
            () = free_slot(self.intake.as_ref()), if is_full && self.may_have_more => {}
            () = tokio::time::sleep_until(self.next_extension), if !self.outstanding.is_empty() => {}
            () = tokio::time::sleep(self.poll_interval), if polls => self.poll().await,
        }
    }

    /// Checks, without a lock, for messages that another process published or nacked.
    async fn poll(&mut self) {
        let (row, now) = (self.row, self.clock.now_us());
        let found =
            self.engine.read(move |connection| receive_transaction::has_deliverable(connection, row, now));
        // After an error the next transaction handles the outage.
        self.may_have_more = found.await.unwrap_or(true);
        if !self.may_have_more {
            self.poll_interval = (self.poll_interval * 2).min(POLL_MAX);
        }
    }

    async fn back_off(&mut self, error: &EngineError) {
        if self.failures == 0 {
            tracing::warn!("could not receive from {}, retrying: {error}", self.name);
        }
        self.healthy.store(false, Ordering::Relaxed);
        let delay = Backoff::IN_PLACE.ceiling(self.failures);
        self.failures = self.failures.saturating_add(1);
        tokio::select! {
            biased;
            () = self.stop.abandoned.cancelled() => {}
            () = tokio::time::sleep(delay) => {}
        }
    }
}

/// Waits for a free slot in the channel to the subscriber.
async fn free_slot(intake: Option<&mpsc::Sender<Delivery>>) {
    match intake {
        Some(intake) => drop(intake.reserve().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use futures_util::FutureExt;

    use super::super::testing::{
        SUBSCRIPTION, TOPIC, an_hour_before, an_hour_later, minutes_later, number, process, publish, raw,
        soon, subscribe, subscribe_with,
    };
    use super::super::{ByteLimits, Embedded, Options, Route, open};
    use super::*;
    use ecom_bus::{Attributes, Bus};

    #[tokio::test]
    async fn messages_are_delivered_whole_in_publish_order() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        let ids = publish(&process, 200).await;
        let subscription = subscribe_with(&process, 1_000, Duration::from_secs(60)).await;
        let mut last = 0;
        for (n, id) in ids.iter().enumerate() {
            let delivery = soon(subscription.next()).await.unwrap();
            let received = &delivery.received;
            assert_eq!((&received.id, received.attempt), (id, 1));
            assert_eq!(received.message.body, n.to_string());
            assert_eq!(received.message.attributes, Attributes::from_iter([("n", n.to_string())]));
            assert!(received.publish_time_us >= last);
            last = received.publish_time_us;
            delivery.ack();
        }
        subscription.stop().await;
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages"), 0);
    }

    #[tokio::test]
    async fn publish_times_never_fall_even_where_clocks_do() {
        let dir = tempfile::tempdir().unwrap();
        let (ahead, behind) = (an_hour_later(dir.path()), an_hour_before(dir.path()));
        let ids = [publish(&ahead, 1).await, publish(&behind, 1).await].concat();
        let subscription = subscribe(&behind).await;
        let first = soon(subscription.next()).await.unwrap();
        let second = soon(subscription.next()).await.unwrap();
        assert_eq!([&first.received.id, &second.received.id], [&ids[0], &ids[1]]);
        assert_eq!(first.received.publish_time_us, second.received.publish_time_us);
    }

    #[tokio::test]
    async fn two_processes_never_lease_the_same_message() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (process(dir.path()), process(dir.path()));
        let (mine, theirs) = (subscribe(&one).await, subscribe(&other).await);
        publish(&one, 150).await;
        let mut leased = Vec::new();
        while leased.len() < 150 {
            let delivery = soon(async {
                tokio::select! { biased; d = mine.next() => d, d = theirs.next() => d }
            });
            leased.push(delivery.await.unwrap());
        }
        let distinct: BTreeSet<_> = leased.iter().map(|delivery| delivery.received.id.clone()).collect();
        assert_eq!(distinct.len(), 150);
        assert!(leased.iter().all(|delivery| delivery.received.attempt == 1));
    }

    #[tokio::test]
    async fn a_process_that_was_idle_gets_what_another_publishes() {
        let dir = tempfile::tempdir().unwrap();
        let (publisher, consumer) = (process(dir.path()), process(dir.path()));
        let subscription = subscribe(&consumer).await;
        for _ in 0..3 {
            publish(&publisher, 1).await;
            soon(subscription.next()).await.unwrap().ack();
        }
        subscription.stop().await;
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages"), 0);
    }

    #[tokio::test]
    async fn nacked_and_dropped_deliveries_are_redelivered_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        publish(&process, 1).await;
        let subscription = subscribe(&process).await;
        soon(subscription.next()).await.unwrap().nack();
        drop(soon(subscription.next()).await.unwrap());
        let third = soon(subscription.next()).await.unwrap();
        assert_eq!(third.received.attempt, 3);
    }

    /// Publishes ten messages and leases them in a process that is killed.
    fn lease_ten_and_die(dir: &Path, open: fn(&Path) -> Arc<Embedded>) {
        // Its runtime ends with it; nothing is acked, flushed or closed.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let process = open(dir);
                    publish(&process, 10).await;
                    let subscription = subscribe(&process).await;
                    std::mem::forget(soon(subscription.next()).await.unwrap());
                    std::mem::forget(subscription);
                    std::mem::forget(process);
                });
                runtime.shutdown_background();
            });
        });
        assert_eq!(number(dir, "SELECT sum(last - first + 1) FROM first_deliveries WHERE due > 0"), 10);
    }

    async fn ack_ten_redeliveries(dir: &Path, process: &Embedded) {
        let subscription = subscribe(process).await;
        for _ in 0..10 {
            let delivery = soon(subscription.next()).await.unwrap();
            assert_eq!(delivery.received.attempt, 2);
            delivery.ack();
        }
        subscription.stop().await;
        assert_eq!(number(dir, "SELECT count(*) FROM messages"), 0);
    }

    #[tokio::test]
    async fn messages_of_a_killed_process_are_redelivered_when_their_leases_expire() {
        let dir = tempfile::tempdir().unwrap();
        lease_ten_and_die(dir.path(), process);
        ack_ten_redeliveries(dir.path(), &minutes_later(dir.path())).await;
    }

    #[tokio::test]
    async fn a_lease_taken_under_a_clock_that_is_an_hour_ahead_does_not_hide_its_messages() {
        let dir = tempfile::tempdir().unwrap();
        lease_ten_and_die(dir.path(), an_hour_later);
        ack_ten_redeliveries(dir.path(), &process(dir.path())).await;
    }

    #[tokio::test]
    async fn an_idle_consumer_finds_a_lease_taken_under_a_clock_that_is_an_hour_ahead() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        let subscription = subscribe(&process).await;
        publish(&process, 1).await;
        let delivery = soon(subscription.next()).await.unwrap();
        raw(dir.path()).execute("UPDATE first_deliveries SET due = due + 3600000000", []).unwrap();
        let again = soon(subscription.next()).await.unwrap();
        assert_eq!((&again.received.id, again.received.attempt), (&delivery.received.id, 2));
    }

    #[tokio::test]
    async fn an_ack_or_nack_of_a_lost_lease_has_no_effect() {
        let dir = tempfile::tempdir().unwrap();
        let (slow, later) = (process(dir.path()), minutes_later(dir.path()));
        publish(&slow, 2).await;
        let slows = subscribe(&slow).await;
        let (acked, nacked) = (soon(slows.next()).await.unwrap(), soon(slows.next()).await.unwrap());
        let laters = subscribe(&later).await;
        let leased = [soon(laters.next()).await.unwrap(), soon(laters.next()).await.unwrap()];
        acked.ack();
        nacked.nack();
        slows.stop().await;
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages"), 2, "the ack had an effect");
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages WHERE due > 0"), 2);
        leased.into_iter().for_each(Delivery::ack);
        laters.stop().await;
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages"), 0);
    }

    #[tokio::test]
    async fn a_lease_is_extended_while_its_delivery_is_in_flight() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        publish(&process, 2).await;
        let subscription = subscribe_with(&process, 10, Duration::from_millis(300)).await;
        let leased = [soon(subscription.next()).await.unwrap(), soon(subscription.next()).await.unwrap()];
        let due = || number(dir.path(), "SELECT min(due) FROM first_deliveries");
        let first = due();
        soon(async {
            while due() == first {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(due() > first);
        assert!(leased.iter().all(|delivery| delivery.received.attempt == 1));
    }

    #[tokio::test]
    async fn no_more_is_delivered_than_may_be_outstanding() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        publish(&process, 5).await;
        let subscription = subscribe_with(&process, 2, Duration::from_secs(60)).await;
        let first = soon(subscription.next()).await.unwrap();
        let second = soon(subscription.next()).await.unwrap();
        assert_eq!(number(dir.path(), "SELECT sum(last - first + 1) FROM first_deliveries"), 2);
        first.ack();
        let third = soon(subscription.next()).await.unwrap();
        assert_eq!(third.received.message.body, "2");
        drop((second, third));
        subscription.stop().await;
    }

    #[tokio::test]
    async fn no_more_bytes_are_delivered_than_may_be_outstanding_and_a_larger_message_is_delivered_alone() {
        const LIMIT: usize = 300_000;
        let dir = tempfile::tempdir().unwrap();
        let limits = ByteLimits { intake: LIMIT, publish: LIMIT };
        let routes = vec![Route::new(TOPIC, SUBSCRIPTION)];
        let process = open(dir.path(), Options { limits, ..Options::new(routes) }).unwrap();
        let publisher = process.publisher(TOPIC, 100).await.unwrap();
        let sizes: Vec<_> = (0..40).map(|n| if n % 10 == 7 { 2 * LIMIT } else { LIMIT / 3 - n }).collect();
        for size in &sizes {
            let message = Message { body: vec![b'x'; *size].into(), attributes: Attributes::new() };
            soon(publisher.publish(message).await).await.unwrap();
        }
        let subscription = subscribe_with(&process, 1_000, Duration::from_secs(60)).await;
        let (mut received, mut most) = (Vec::new(), 0);
        while received.len() < sizes.len() {
            // All that is delivered without an ack.
            let mut outstanding = vec![soon(subscription.next()).await.unwrap()];
            while let Ok(delivery) =
                tokio::time::timeout(Duration::from_millis(100), subscription.next()).await
            {
                outstanding.push(delivery.unwrap());
            }
            let bytes: usize = outstanding.iter().map(|delivery| delivery.received.message.size()).sum();
            assert!(bytes <= LIMIT || outstanding.len() == 1, "{} deliveries of {bytes}", outstanding.len());
            most = most.max(outstanding.len());
            received.extend(outstanding.iter().map(|delivery| delivery.received.message.body.len()));
            outstanding.into_iter().for_each(Delivery::ack);
        }
        assert_eq!((received, most), (sizes, 3));
        subscription.stop().await;
    }

    #[tokio::test]
    async fn a_buffer_of_one_delivers_everything() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        publish(&process, 20).await;
        let options = SubscribeOptions {
            streams: ecom_bus::Streams::Fixed(1),
            max_outstanding: 20,
            buffer: 1,
            ack_deadline: Duration::from_secs(60),
            idle_rotation: None,
        };
        let subscription =
            ecom_bus::Bus::subscribe(&*process, super::super::testing::SUBSCRIPTION, options).await.unwrap();
        let mut leased = Vec::new();
        for _ in 0..20 {
            leased.push(soon(subscription.next()).await.unwrap());
        }
        leased.into_iter().for_each(Delivery::ack);
        subscription.stop().await;
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages"), 0);
    }

    #[tokio::test]
    async fn stopping_nacks_buffered_deliveries_and_flushes_acks() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        publish(&process, 10).await;
        let subscription = subscribe(&process).await;
        soon(subscription.next()).await.unwrap().ack();
        soon(subscription.stop()).await;
        assert!(subscription.next().await.is_none());
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages"), 9);
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages WHERE due > 0"), 0);
        assert_eq!(number(dir.path(), "SELECT count(*) FROM first_deliveries"), 0);
        let again = subscribe(&process).await;
        assert_eq!(soon(again.next()).await.unwrap().received.message.body, "1");
    }

    #[tokio::test]
    async fn stopping_ends_a_worker_that_waits_for_a_message() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        let subscription = subscribe(&process).await;
        let (next, ()) = soon(async { tokio::join!(subscription.next(), subscription.stop()) }).await;
        assert!(next.is_none());
    }

    #[tokio::test]
    async fn a_feed_reports_when_the_file_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        let subscription = subscribe(&process).await;
        assert!(subscription.answers());
        let outside = raw(dir.path());
        outside.execute_batch("ALTER TABLE messages RENAME TO elsewhere").unwrap();
        let until = async |answers: bool| {
            while subscription.answers() != answers {
                tokio::task::yield_now().await;
            }
        };
        soon(until(false)).await;
        outside.execute_batch("ALTER TABLE elsewhere RENAME TO messages").unwrap();
        soon(until(true)).await;
    }

    #[tokio::test]
    async fn a_feed_whose_file_is_gone_ends_with_the_cause() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        publish(&process, 1).await;
        let subscription = subscribe(&process).await;
        let delivery = soon(subscription.next()).await.unwrap();
        std::fs::remove_file(dir.path().join(super::super::FILE_NAME)).unwrap();
        assert!(soon(subscription.next()).await.is_none());
        let cause = subscription.failure().unwrap();
        assert!(cause.contains("moved, deleted or replaced"), "{cause}");
        assert!(!subscription.answers());
        delivery.ack();
        soon(subscription.stop()).await;
    }

    #[tokio::test]
    async fn the_backlog_is_what_is_published_and_not_acked() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        let (subscription, later) = (subscribe(&process).await, subscribe(&minutes_later(dir.path())).await);
        assert_eq!(later.backlog().await, Backlog::Empty);
        publish(&process, 1).await;
        assert_eq!(subscription.backlog().await, Backlog::Left, "not delivered, or not acked");
        let delivery = soon(later.next()).await.unwrap();
        assert_eq!(subscription.backlog().await, Backlog::Left, "another consumer has it");
        delivery.ack();
        soon(async {
            while subscription.backlog().await == Backlog::Left {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(subscription.backlog().await, Backlog::Empty);
    }

    #[tokio::test]
    async fn acks_are_retried_while_the_file_is_locked() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        publish(&process, 1).await;
        let subscription = subscribe(&process).await;
        let delivery = soon(subscription.next()).await.unwrap();
        let stopped = raw(dir.path());
        stopped.execute_batch("BEGIN IMMEDIATE").unwrap();
        delivery.ack();
        let stop = subscription.stop();
        tokio::pin!(stop);
        assert!(stop.as_mut().now_or_never().is_none());
        stopped.execute_batch("COMMIT").unwrap();
        soon(stop).await;
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages"), 0);
    }
}
