//! Receiving: one task a subscription takes turns with the file for as long as somebody listens.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::engine::{Engine, Failure, TopicNotifier};
use super::turn::{self, Leased, Mailbox, Settled, Token, Turn};
use ecom_bus::{Backlog, Delivery, Feed, Lease, Message, ReceivedMessage, SubscribeOptions, Subscription};
use ecom_clock::{Clock, micros};
use ecom_domain::backoff::Backoff;

/// Messages leased in one turn at most: bounds how long the file is locked.
const TURN: usize = 512;
/// Between two looks for what other processes published, when something was there lately …
const LOOK_FIRST: Duration = Duration::from_millis(10);
/// … and when nothing was for a while.
const LOOK_LAST: Duration = Duration::from_millis(100);
/// A shorter lease would be renewed without end.
const SHORTEST_LEASE: Duration = Duration::from_millis(3);
/// Leases are renewed this many times within their length.
const RENEWALS: u32 = 3;

/// Starts the task.
pub(super) fn start(
    engine: Engine,
    mailbox: Mailbox,
    name: String,
    notifier: TopicNotifier,
    clock: Clock,
    options: SubscribeOptions,
) -> Subscription {
    let (intake, deliveries) = mpsc::channel(options.buffer.max(1));
    let stopping = Stopping::default();
    let answering = Arc::new(AtomicBool::new(true));
    let handle =
        Handle { stopping: stopping.clone(), answering: answering.clone(), engine: engine.clone(), mailbox };
    let round = Round {
        engine,
        mailbox,
        name,
        rings: notifier.listen(),
        notifier,
        clock,
        ack_deadline: options.ack_deadline.max(SHORTEST_LEASE),
        max_outstanding: options.max_outstanding.max(1),
        intake: Some(intake),
        outcomes: Arc::default(),
        held: BTreeMap::new(),
        spent: Vec::new(),
        more: true,
        look: LOOK_FIRST,
        renewal: Instant::now(),
        failures: 0,
        answering,
        stopping,
    };
    tokio::spawn(round.run());
    Subscription::new(deliveries, Box::new(handle))
}

/// How far the end of a subscription has come.
#[derive(Clone, Default)]
struct Stopping {
    /// Nothing more is wanted.
    closed: CancellationToken,
    /// Nobody waits for what is in flight either.
    abandoned: CancellationToken,
    /// The task has ended.
    ended: CancellationToken,
}

/// The task as its subscription sees it.
struct Handle {
    stopping: Stopping,
    answering: Arc<AtomicBool>,
    engine: Engine,
    mailbox: Mailbox,
}

#[async_trait]
impl Feed for Handle {
    fn answers(&self) -> bool {
        self.answering.load(Ordering::Relaxed)
    }

    async fn backlog(&self) -> Backlog {
        let mailbox = self.mailbox;
        match self.engine.read(move |connection| turn::anything_left(connection, mailbox)).await {
            Ok(false) => Backlog::Empty,
            Ok(true) | Err(_) => Backlog::Left,
        }
    }

    fn close(&self) {
        self.stopping.closed.cancel();
    }

    async fn stopped(&self) {
        self.stopping.ended.cancelled().await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stopping.abandoned.cancel();
    }
}

/// What the workers have settled and the task has not fetched. Bounded by what is outstanding.
#[derive(Default)]
struct Outcomes {
    settled: Mutex<Vec<Settled>>,
    filled: Notify,
}

impl Outcomes {
    fn put(&self, settled: Settled) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).push(settled);
        self.filled.notify_one();
    }

    fn take(&self) -> Vec<Settled> {
        std::mem::take(&mut *self.settled.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The right to settle one delivery.
struct Held {
    token: Token,
    outcomes: Arc<Outcomes>,
    spent: bool,
}

impl Lease for Held {
    fn ack(mut self: Box<Self>) {
        self.spent = true;
        self.outcomes.put(Settled::Acked(self.token));
    }

    fn nack(self: Box<Self>) {
        drop(self);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.spent {
            self.outcomes.put(Settled::Nacked(self.token));
        }
    }
}

/// The task's state.
struct Round {
    engine: Engine,
    mailbox: Mailbox,
    name: String,
    notifier: TopicNotifier,
    rings: watch::Receiver<()>,
    clock: Clock,
    ack_deadline: Duration,
    max_outstanding: usize,
    /// Dropped on closing, which ends the workers' wait.
    intake: Option<mpsc::Sender<Delivery>>,
    outcomes: Arc<Outcomes>,
    /// Deliveries handed out and not settled.
    held: BTreeMap<i64, u32>,
    /// Settled, and not known to have reached the file.
    spent: Vec<Settled>,
    /// Whether there may be something to lease.
    more: bool,
    look: Duration,
    renewal: Instant,
    failures: u32,
    /// Whether the last turn succeeded.
    answering: Arc<AtomicBool>,
    stopping: Stopping,
}

impl Round {
    async fn run(mut self) {
        let _ended = self.stopping.ended.clone().drop_guard();
        loop {
            self.fetch_settled();
            if self.stopping.abandoned.is_cancelled() {
                // One try: nobody waits, and leases run out by themselves.
                if !self.spent.is_empty() {
                    let _ = self.take_turn(0, Vec::new()).await;
                }
                return;
            }
            if self.stopping.closed.is_cancelled() {
                self.intake = None;
                if self.held.is_empty() && self.spent.is_empty() {
                    return;
                }
            }
            let want = self.room();
            let renewed = self.due_renewals();
            if (want == 0 || !self.more) && renewed.is_empty() && self.spent.is_empty() {
                self.wait().await;
                continue;
            }
            match self.take_turn(want, renewed).await {
                Ok(leased) => self.hand_out(leased, want),
                Err(failure) => self.wait_out(&failure).await,
            }
        }
    }

    fn fetch_settled(&mut self) {
        let settled = self.outcomes.take();
        for one in &settled {
            let (Settled::Acked(token) | Settled::Nacked(token)) = one;
            if self.held.get(&token.message) == Some(&token.attempt) {
                self.held.remove(&token.message);
            }
        }
        self.spent.extend(settled);
    }

    /// How many messages may be leased now.
    fn room(&self) -> usize {
        let Some(intake) = &self.intake else { return 0 };
        intake.capacity().min(self.max_outstanding.saturating_sub(self.held.len())).min(TURN)
    }

    fn due_renewals(&self) -> Vec<Token> {
        if Instant::now() < self.renewal {
            return Vec::new();
        }
        self.held.iter().map(|(&message, &attempt)| Token { message, attempt }).collect()
    }

    async fn take_turn(&mut self, want: usize, renewed: Vec<Token>) -> Result<Vec<Leased>, Failure> {
        let now = self.clock.now_us();
        let until = now.saturating_add(micros(self.ack_deadline));
        let renews = !renewed.is_empty() || self.held.is_empty();
        let settled = self.spent.clone();
        let nacks = settled.iter().any(|one| matches!(one, Settled::Nacked(_)));
        let turn = Turn { mailbox: self.mailbox, settled, renewed, want, now, until };
        let leased = self.engine.write(move |connection| turn.run(connection)).await?;
        self.spent.clear();
        if renews {
            self.renewal = Instant::now() + self.ack_deadline / RENEWALS;
        }
        if nacks {
            self.notifier.ring();
        }
        if self.failures > 0 {
            tracing::info!(failures = self.failures, "{} answers again", self.name);
            self.failures = 0;
            self.answering.store(true, Ordering::Relaxed);
        }
        Ok(leased)
    }

    fn hand_out(&mut self, leased: Vec<Leased>, want: usize) {
        if want > 0 {
            self.more = leased.len() == want;
        }
        if !leased.is_empty() {
            self.look = LOOK_FIRST;
        }
        for Leased { token, publish_time, attributes, body } in leased {
            self.held.insert(token.message, token.attempt);
            let lease = Held { token, outcomes: Arc::clone(&self.outcomes), spent: false };
            let attributes: BTreeMap<String, String> = match serde_json::from_str(&attributes) {
                Ok(attributes) => attributes,
                Err(error) => {
                    // The error would quote the value that is no text.
                    let column = error.column();
                    tracing::warn!(message.id = token.message, column, "attributes are no object of texts");
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
                // Refused only once nobody listens; dropping the delivery then nacks it.
                let _ = intake.try_send(Delivery::new(received, Box::new(lease)));
            }
        }
    }

    /// Until something happens that a turn could serve.
    async fn wait(&mut self) {
        let listening = self.intake.is_some();
        let full = self.intake.as_ref().is_some_and(|intake| intake.capacity() == 0);
        let looking = listening && self.room() > 0;
        tokio::select! {
            biased;
            () = self.stopping.abandoned.cancelled() => {}
            () = self.stopping.closed.cancelled(), if listening => {}
            () = self.outcomes.filled.notified() => {}
            Ok(()) = self.rings.changed(), if listening => self.more = true,
            () = place(self.intake.as_ref()), if full && self.more => {}
            () = tokio::time::sleep_until(self.renewal), if !self.held.is_empty() => {}
            () = tokio::time::sleep(self.look), if looking => self.look().await,
        }
    }

    /// Looks for what another process published or gave back, without a lock.
    async fn look(&mut self) {
        let (mailbox, now) = (self.mailbox, self.clock.now_us());
        let waiting =
            self.engine.read(move |connection| turn::anything_waiting(connection, mailbox, now)).await;
        // A failed look is followed by a turn, which handles the outage.
        self.more = waiting.unwrap_or(true);
        if !self.more {
            self.look = (self.look * 2).min(LOOK_LAST);
        }
    }

    async fn wait_out(&mut self, failure: &Failure) {
        if self.failures == 0 {
            tracing::warn!("could not receive from {}, trying again: {failure}", self.name);
        }
        self.answering.store(false, Ordering::Relaxed);
        let delay = Backoff::IN_PLACE.ceiling(self.failures);
        self.failures = self.failures.saturating_add(1);
        tokio::select! {
            biased;
            () = self.stopping.abandoned.cancelled() => {}
            () = tokio::time::sleep(delay) => {}
        }
    }
}

/// Waits for a place among the buffered deliveries.
async fn place(intake: Option<&mpsc::Sender<Delivery>>) {
    match intake {
        Some(intake) => drop(intake.reserve().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures_util::FutureExt;

    use super::super::testing::{
        an_hour_before, an_hour_later, number, process, publish, raw, soon, subscribe, subscribe_with,
    };
    use super::*;
    use ecom_bus::Attributes;

    #[tokio::test]
    async fn messages_come_in_the_order_they_were_published_with_everything_they_carry() {
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
    async fn two_processes_never_hold_one_message() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (process(dir.path()), process(dir.path()));
        let (mine, theirs) = (subscribe(&one).await, subscribe(&other).await);
        publish(&one, 150).await;
        let mut held = Vec::new();
        while held.len() < 150 {
            let delivery = soon(async {
                tokio::select! { biased; d = mine.next() => d, d = theirs.next() => d }
            });
            held.push(delivery.await.unwrap());
        }
        let distinct: BTreeSet<_> = held.iter().map(|delivery| delivery.received.id.clone()).collect();
        assert_eq!(distinct.len(), 150);
        assert!(held.iter().all(|delivery| delivery.received.attempt == 1));
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
    async fn nacked_and_dropped_deliveries_come_again_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        publish(&process, 1).await;
        let subscription = subscribe(&process).await;
        soon(subscription.next()).await.unwrap().nack();
        drop(soon(subscription.next()).await.unwrap());
        let third = soon(subscription.next()).await.unwrap();
        assert_eq!(third.received.attempt, 3);
    }

    #[tokio::test]
    async fn a_killed_process_gives_its_messages_back_when_their_leases_run_out() {
        let dir = tempfile::tempdir().unwrap();
        // Its runtime dies with it; nothing is settled, flushed or closed.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let process = process(dir.path());
                    publish(&process, 10).await;
                    let subscription = subscribe(&process).await;
                    std::mem::forget(soon(subscription.next()).await.unwrap());
                    std::mem::forget(subscription);
                    std::mem::forget(process);
                });
                runtime.shutdown_background();
            });
        });
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages WHERE due > 0"), 10);
        let later = an_hour_later(dir.path());
        let subscription = subscribe(&later).await;
        for _ in 0..10 {
            let delivery = soon(subscription.next()).await.unwrap();
            assert_eq!(delivery.received.attempt, 2);
            delivery.ack();
        }
        subscription.stop().await;
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages"), 0);
    }

    #[tokio::test]
    async fn an_ack_or_nack_of_a_lost_lease_has_no_effect() {
        let dir = tempfile::tempdir().unwrap();
        let (slow, later) = (process(dir.path()), an_hour_later(dir.path()));
        publish(&slow, 2).await;
        let slows = subscribe(&slow).await;
        let (acked, nacked) = (soon(slows.next()).await.unwrap(), soon(slows.next()).await.unwrap());
        let laters = subscribe(&later).await;
        let held = [soon(laters.next()).await.unwrap(), soon(laters.next()).await.unwrap()];
        acked.ack();
        nacked.nack();
        slows.stop().await;
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages"), 2, "the ack had an effect");
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages WHERE due > 0"), 2);
        held.into_iter().for_each(Delivery::ack);
        laters.stop().await;
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages"), 0);
    }

    #[tokio::test]
    async fn a_lease_is_renewed_while_its_delivery_is_in_flight() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        publish(&process, 2).await;
        let subscription = subscribe_with(&process, 10, Duration::from_millis(300)).await;
        let held = [soon(subscription.next()).await.unwrap(), soon(subscription.next()).await.unwrap()];
        let due = || number(dir.path(), "SELECT min(due) FROM messages");
        let first = due();
        soon(async {
            while due() == first {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(due() > first);
        assert!(held.iter().all(|delivery| delivery.received.attempt == 1));
    }

    #[tokio::test]
    async fn no_more_is_handed_out_than_may_be_outstanding() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        publish(&process, 5).await;
        let subscription = subscribe_with(&process, 2, Duration::from_secs(60)).await;
        let first = soon(subscription.next()).await.unwrap();
        let second = soon(subscription.next()).await.unwrap();
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages WHERE due IS NOT NULL"), 2);
        first.ack();
        let third = soon(subscription.next()).await.unwrap();
        assert_eq!(third.received.message.body, "2");
        drop((second, third));
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
        let mut held = Vec::new();
        for _ in 0..20 {
            held.push(soon(subscription.next()).await.unwrap());
        }
        held.into_iter().for_each(Delivery::ack);
        subscription.stop().await;
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages"), 0);
    }

    #[tokio::test]
    async fn stopping_gives_back_what_no_lane_took_and_flushes_acks() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        publish(&process, 10).await;
        let subscription = subscribe(&process).await;
        soon(subscription.next()).await.unwrap().ack();
        soon(subscription.stop()).await;
        assert!(subscription.next().await.is_none());
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages"), 9);
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages WHERE due > 0"), 0);
        let again = subscribe(&process).await;
        assert_eq!(soon(again.next()).await.unwrap().received.message.body, "1");
    }

    #[tokio::test]
    async fn stopping_ends_a_lane_that_waits_for_a_message() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        let subscription = subscribe(&process).await;
        let (next, ()) = soon(async { tokio::join!(subscription.next(), subscription.stop()) }).await;
        assert!(next.is_none());
    }

    #[tokio::test]
    async fn a_feed_says_when_the_file_cannot_be_asked_for_deliveries() {
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
    async fn what_is_left_is_published_and_not_acked() {
        let dir = tempfile::tempdir().unwrap();
        let process = process(dir.path());
        let (subscription, later) = (subscribe(&process).await, subscribe(&an_hour_later(dir.path())).await);
        assert_eq!(later.backlog().await, Backlog::Empty);
        publish(&process, 1).await;
        assert_eq!(subscription.backlog().await, Backlog::Left, "not delivered, or not settled");
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
    async fn acks_wait_out_a_locked_file() {
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
