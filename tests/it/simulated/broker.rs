//! A bus whose messages come in any order, more than once, and whose receipts get lost.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use ecom_bus::{
    Backlog, Bus, BusError, Delivery, Feed, Lease, Message, PublishError, Publisher, Receipt,
    ReceivedMessage, SubscribeOptions, Subscription, TopicState,
};
use ecom_clock::Clock;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A handle; clones share the broker.
#[derive(Clone)]
pub struct Broker(Arc<Shared>);

pub struct Shared {
    state: Mutex<State>,
    changed: Notify,
    clock: Clock,
}

struct State {
    rng: ChaCha8Rng,
    faults: bool,
    next_id: u64,
    topics: BTreeMap<String, Vec<Waiting>>,
    /// Every message that was ever stored, by topic.
    log: BTreeMap<String, Vec<ReceivedMessage>>,
    leased: u64,
    redelivered: u64,
    receipts_lost: u64,
}

struct Waiting {
    from: Instant,
    received: ReceivedMessage,
}

impl Broker {
    pub fn new(seed: u64, clock: Clock) -> Self {
        let state = State {
            rng: ChaCha8Rng::seed_from_u64(seed),
            faults: true,
            next_id: 0,
            topics: BTreeMap::new(),
            log: BTreeMap::new(),
            leased: 0,
            redelivered: 0,
            receipts_lost: 0,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Notify::new(), clock }))
    }
}

impl std::ops::Deref for Broker {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Shared {
    pub fn now_us(&self) -> i64 {
        self.clock.now_us()
    }

    /// No more faults.
    pub fn heal(&self) {
        self.state().faults = false;
    }

    pub fn redelivered(&self) -> u64 {
        self.state().redelivered
    }

    pub fn receipts_lost(&self) -> u64 {
        self.state().receipts_lost
    }

    /// Every message that was ever stored on a topic.
    pub fn log(&self, topic: &str) -> Vec<ReceivedMessage> {
        self.state().log.get(topic).cloned().unwrap_or_default()
    }

    /// Delivers a message of the past again, as a seek does.
    pub fn replay(&self, topic: &str) {
        let old = {
            let mut state = self.state();
            let stored = state.log.get(topic).map_or(0, Vec::len);
            if stored == 0 {
                return;
            }
            let pick = state.rng.random_range(0..stored);
            state.log[topic][pick].clone()
        };
        self.put(topic, old, 0);
    }

    /// Waits until every message is acked.
    pub async fn drained(&self) {
        loop {
            let changed = self.changed.notified();
            {
                let state = self.state();
                if state.leased == 0 && state.topics.values().all(Vec::is_empty) {
                    return;
                }
            }
            changed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn put(&self, topic: &str, received: ReceivedMessage, delay: u64) {
        let from = Instant::now() + Duration::from_millis(delay);
        self.state().topics.entry(topic.to_owned()).or_default().push(Waiting { from, received });
        self.changed.notify_waiters();
    }

    /// Any of the messages that may come now, or how long to wait.
    fn take(&self, topic: &str) -> Result<ReceivedMessage, Option<Instant>> {
        let mut state = self.state();
        let now = Instant::now();
        let waiting = state.topics.entry(topic.to_owned()).or_default();
        let ready: Vec<usize> = (0..waiting.len()).filter(|index| waiting[*index].from <= now).collect();
        if ready.is_empty() {
            return Err(waiting.iter().map(|waiting| waiting.from).min());
        }
        let pick = state.rng.random_range(0..ready.len());
        let received = state.topics.get_mut(topic).unwrap().swap_remove(ready[pick]).received;
        state.leased += 1;
        Ok(received)
    }

    fn settle(&self, topic: &str, received: ReceivedMessage, acked: bool) {
        let (again, delay) = {
            let mut state = self.state();
            state.leased -= 1;
            let ack_lost = state.faults && state.rng.random_bool(0.08);
            let delay = state.rng.random_range(0..60);
            let again = !acked || ack_lost;
            state.redelivered += u64::from(again);
            (again, delay)
        };
        if again {
            self.put(topic, ReceivedMessage { attempt: received.attempt + 1, ..received }, delay);
        }
        self.changed.notify_waiters();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let counts: Vec<_> = state.topics.iter().map(|(topic, waiting)| (topic, waiting.len())).collect();
        write!(f, "{counts:?}, {} leased", state.leased)
    }
}

struct SimulatedLease {
    broker: Broker,
    topic: String,
    received: Option<ReceivedMessage>,
}

impl SimulatedLease {
    fn settle(&mut self, acked: bool) {
        if let Some(received) = self.received.take() {
            self.broker.settle(&self.topic, received, acked);
        }
    }
}

impl Lease for SimulatedLease {
    fn ack(mut self: Box<Self>) {
        self.settle(true);
    }

    fn nack(mut self: Box<Self>) {
        self.settle(false);
    }
}

impl Drop for SimulatedLease {
    fn drop(&mut self) {
        self.settle(false);
    }
}

struct SimulatedFeed {
    broker: Broker,
    topic: String,
    stop: CancellationToken,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
}

#[async_trait]
impl Feed for SimulatedFeed {
    fn answers(&self) -> bool {
        true
    }

    async fn backlog(&self) -> Backlog {
        match self.broker.is_drained(&self.topic).await {
            Ok(Some(true)) => Backlog::Empty,
            Ok(Some(false)) | Err(_) => Backlog::Left,
            Ok(None) => Backlog::Unknown,
        }
    }

    fn close(&self) {
        self.stop.cancel();
    }

    async fn stopped(&self) {
        while self.tasks.lock().await.join_next().await.is_some() {}
    }
}

async fn feed(broker: Broker, topic: String, intake: mpsc::Sender<Delivery>, stop: CancellationToken) {
    loop {
        let Ok(place) = (tokio::select! {
            biased;
            () = stop.cancelled() => return,
            place = intake.reserve() => place,
        }) else {
            return;
        };
        let changed = broker.changed.notified();
        let until = match broker.take(&topic) {
            Ok(received) => {
                let lease = SimulatedLease {
                    broker: broker.clone(),
                    topic: topic.clone(),
                    received: Some(received.clone()),
                };
                place.send(Delivery::new(received, Box::new(lease)));
                continue;
            }
            Err(until) => until,
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = changed => {}
            () = tokio::time::sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
        }
    }
}

struct SimulatedPublisher {
    broker: Broker,
    topic: String,
}

#[async_trait]
impl Publisher for SimulatedPublisher {
    async fn publish(&self, message: Message) -> Receipt {
        let (broker, topic) = (self.broker.clone(), self.topic.clone());
        Receipt::new(async move {
            let (id, wait, lost, stored, delay) = {
                let mut state = broker.state();
                state.next_id += 1;
                let lost = state.faults && state.rng.random_bool(0.1);
                let stored = !lost || state.rng.random_bool(0.6);
                state.receipts_lost += u64::from(lost);
                let wait = state.rng.random_range(0..5);
                (state.next_id, wait, lost, stored, state.rng.random_range(0..40))
            };
            tokio::time::sleep(Duration::from_millis(wait)).await;
            if stored {
                let publish_time_us = broker.now_us() / 1_000 * 1_000;
                let received = ReceivedMessage { message, id: id.to_string(), publish_time_us, attempt: 1 };
                broker.state().log.entry(topic.clone()).or_default().push(received.clone());
                broker.put(&topic, received, delay);
            }
            if lost {
                return Err(PublishError::Unavailable { topic, source: "simulated".into() });
            }
            Ok(id.to_string())
        })
    }

    async fn flush(&self) {}
}

#[async_trait]
impl Bus for Broker {
    async fn publisher(&self, topic: &str, _: usize) -> Result<Arc<dyn Publisher>, BusError> {
        Ok(Arc::new(SimulatedPublisher { broker: self.clone(), topic: topic.to_owned() }))
    }

    async fn subscribe(
        &self,
        subscription: &str,
        options: SubscribeOptions,
    ) -> Result<Subscription, BusError> {
        let topic = subscription.trim_end_matches("-sub").to_owned();
        let (sender, receiver) = mpsc::channel(options.buffer);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(feed(self.clone(), topic.clone(), sender, stop.clone()));
        let tasks = tokio::sync::Mutex::new(tasks);
        let feed = SimulatedFeed { broker: self.clone(), topic, stop, tasks };
        Ok(Subscription::new(receiver, Box::new(feed)))
    }

    async fn topic_state(&self, _: &str) -> Result<TopicState, BusError> {
        Ok(TopicState::Subscribed)
    }

    async fn is_drained(&self, topic: &str) -> Result<Option<bool>, BusError> {
        let state = self.state();
        Ok(Some(state.leased == 0 && state.topics.get(topic).is_none_or(Vec::is_empty)))
    }

    fn describe(&self) -> String {
        "simulated".to_owned()
    }

    async fn close(&self) {}
}
