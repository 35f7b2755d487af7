//! A simulated bus that delivers messages in random order and more than once, and loses acks and publish
//! acknowledgements.

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

/// A handle on the broker. Clones share it.
#[derive(Clone)]
pub struct Broker(Arc<SharedBroker>);

pub struct SharedBroker {
    state: Mutex<BrokerState>,
    changed: Notify,
    clock: Clock,
}

struct BrokerState {
    rng: ChaCha8Rng,
    faults: bool,
    next_id: u64,
    topics: BTreeMap<String, Vec<PendingMessage>>,
    /// All messages published so far, by topic.
    log: BTreeMap<String, Vec<ReceivedMessage>>,
    leased: u64,
    redelivered: u64,
    lost_publish_acks: u64,
}

/// A message that is delivered at `due` or later.
struct PendingMessage {
    due: Instant,
    received: ReceivedMessage,
}

impl Broker {
    pub fn new(seed: u64, clock: Clock) -> Self {
        let state = BrokerState {
            rng: ChaCha8Rng::seed_from_u64(seed),
            faults: true,
            next_id: 0,
            topics: BTreeMap::new(),
            log: BTreeMap::new(),
            leased: 0,
            redelivered: 0,
            lost_publish_acks: 0,
        };
        Self(Arc::new(SharedBroker { state: Mutex::new(state), changed: Notify::new(), clock }))
    }
}

impl std::ops::Deref for Broker {
    type Target = SharedBroker;

    fn deref(&self) -> &SharedBroker {
        &self.0
    }
}

impl SharedBroker {
    pub fn now_us(&self) -> i64 {
        self.clock.now_us()
    }

    /// Stops injecting faults.
    pub fn heal(&self) {
        self.state().faults = false;
    }

    pub fn redelivered(&self) -> u64 {
        self.state().redelivered
    }

    pub fn lost_publish_acks(&self) -> u64 {
        self.state().lost_publish_acks
    }

    /// Returns all messages published on a topic so far.
    pub fn log(&self, topic: &str) -> Vec<ReceivedMessage> {
        self.state().log.get(topic).cloned().unwrap_or_default()
    }

    /// Redelivers a random message of the topic, as a seek does.
    pub fn replay(&self, topic: &str) {
        let message = {
            let mut state = self.state();
            let stored = state.log.get(topic).map_or(0, Vec::len);
            if stored == 0 {
                return;
            }
            let pick = state.rng.random_range(0..stored);
            state.log[topic][pick].clone()
        };
        self.put(topic, message, 0);
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

    fn state(&self) -> MutexGuard<'_, BrokerState> {
        self.state.lock().unwrap()
    }

    fn put(&self, topic: &str, received: ReceivedMessage, delay: u64) {
        let due = Instant::now() + Duration::from_millis(delay);
        self.state().topics.entry(topic.to_owned()).or_default().push(PendingMessage { due, received });
        self.changed.notify_waiters();
    }

    /// Takes a random message that is due.
    ///
    /// # Errors
    /// The time at which the next message is due, if there is one.
    fn take(&self, topic: &str) -> Result<ReceivedMessage, Option<Instant>> {
        let mut state = self.state();
        let now = Instant::now();
        let pending = state.topics.entry(topic.to_owned()).or_default();
        let ready: Vec<usize> = (0..pending.len()).filter(|index| pending[*index].due <= now).collect();
        if ready.is_empty() {
            return Err(pending.iter().map(|message| message.due).min());
        }
        let pick = state.rng.random_range(0..ready.len());
        let received = state.topics.get_mut(topic).unwrap().swap_remove(ready[pick]).received;
        state.leased += 1;
        Ok(received)
    }

    /// Ends a delivery. Without an ack, or if the ack is lost, the message is delivered again.
    fn finish(&self, topic: &str, received: ReceivedMessage, outcome: DeliveryOutcome) {
        let (again, delay) = {
            let mut state = self.state();
            state.leased -= 1;
            let ack_lost = state.faults && state.rng.random_bool(0.08);
            let delay = state.rng.random_range(0..60);
            let again = outcome == DeliveryOutcome::Nacked || ack_lost;
            state.redelivered += u64::from(again);
            (again, delay)
        };
        if again {
            self.put(topic, ReceivedMessage { attempt: received.attempt + 1, ..received }, delay);
        }
        self.changed.notify_waiters();
    }
}

impl fmt::Debug for SharedBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let counts: Vec<_> = state.topics.iter().map(|(topic, pending)| (topic, pending.len())).collect();
        write!(f, "{counts:?}, {} leased", state.leased)
    }
}

/// The outcome of a delivery.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DeliveryOutcome {
    Acked,
    Nacked,
}

struct SimulatedLease {
    broker: Broker,
    topic: String,
    received: Option<ReceivedMessage>,
}

impl SimulatedLease {
    fn finish(&mut self, outcome: DeliveryOutcome) {
        if let Some(received) = self.received.take() {
            self.broker.finish(&self.topic, received, outcome);
        }
    }
}

impl Lease for SimulatedLease {
    fn ack(mut self: Box<Self>) {
        self.finish(DeliveryOutcome::Acked);
    }

    fn nack(mut self: Box<Self>) {
        self.finish(DeliveryOutcome::Nacked);
    }
}

impl Drop for SimulatedLease {
    fn drop(&mut self) {
        self.finish(DeliveryOutcome::Nacked);
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

async fn feed(broker: Broker, topic: String, channel: mpsc::Sender<Delivery>, stop: CancellationToken) {
    loop {
        let Ok(permit) = (tokio::select! {
            biased;
            () = stop.cancelled() => return,
            permit = channel.reserve() => permit,
        }) else {
            return;
        };
        let changed = broker.changed.notified();
        let due = match broker.take(&topic) {
            Ok(received) => {
                let lease = SimulatedLease {
                    broker: broker.clone(),
                    topic: topic.clone(),
                    received: Some(received.clone()),
                };
                permit.send(Delivery::new(received, Box::new(lease)));
                continue;
            }
            Err(due) => due,
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = changed => {}
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
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
                state.lost_publish_acks += u64::from(lost);
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
