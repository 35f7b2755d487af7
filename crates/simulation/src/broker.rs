//! A simulated bus: it delivers messages in random order and more than once, and a lease may end while its
//! delivery is still processed.

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

use crate::faults::{Fault, Injector, Operation};

/// The ack deadline of every message.
const ACK_DEADLINE: Duration = Duration::from_secs(10);

/// Checks an ack of a message on a topic: its effect must be there.
pub type AckCheck = Box<dyn Fn(&Broker, &str, &ReceivedMessage) -> Result<(), String> + Send + Sync>;

/// The broker, which all roles share.
pub struct Broker {
    state: Mutex<State>,
    changed: Notify,
    clock: Clock,
    /// The share of deliveries whose lease ends early, as if its extension was lost.
    lease_ends_early: f64,
    check: AckCheck,
}

struct State {
    rng: ChaCha8Rng,
    /// The random order of deliveries ends with the faults.
    healed: bool,
    next_id: u64,
    next_lease: u64,
    pending: BTreeMap<String, Vec<PendingMessage>>,
    leased: BTreeMap<u64, LeasedMessage>,
    /// All messages published so far, by topic.
    log: BTreeMap<String, Vec<ReceivedMessage>>,
    redelivered: u64,
    leases_ended: u64,
    violations: Vec<String>,
}

/// A message that is delivered at `due` or later.
struct PendingMessage {
    due: Instant,
    received: ReceivedMessage,
}

/// A delivery that was neither acked nor nacked, and whose lease has not ended.
struct LeasedMessage {
    topic: String,
    received: ReceivedMessage,
    ends: Instant,
}

impl Broker {
    /// Returns a broker without topics; they are created when they are used.
    pub fn new(seed: u64, clock: Clock, lease_ends_early: f64, check: AckCheck) -> Arc<Self> {
        let state = State {
            rng: ChaCha8Rng::seed_from_u64(seed),
            healed: false,
            next_id: 990 + seed % 5,
            next_lease: 0,
            pending: BTreeMap::new(),
            leased: BTreeMap::new(),
            log: BTreeMap::new(),
            redelivered: 0,
            leases_ended: 0,
            violations: Vec::new(),
        };
        let (state, changed) = (Mutex::new(state), Notify::new());
        Arc::new(Self { state, changed, clock, lease_ends_early, check })
    }

    /// Microseconds since the epoch.
    pub fn now_us(&self) -> i64 {
        self.clock.now_us()
    }

    /// Delivers without faults from now on.
    pub fn heal(&self) {
        self.state().healed = true;
    }

    /// Returns the number of messages that were delivered again.
    pub fn redelivered(&self) -> u64 {
        self.state().redelivered
    }

    /// Returns the number of leases that ended before their delivery.
    pub fn leases_ended(&self) -> u64 {
        self.state().leases_ended
    }

    /// Returns the rules that were violated so far.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// Records that a rule was violated.
    pub fn violation(&self, what: String) {
        self.state().violations.push(what);
    }

    /// Returns all messages published on a topic so far.
    pub fn log(&self, topic: &str) -> Vec<ReceivedMessage> {
        self.state().log.get(topic).cloned().unwrap_or_default()
    }

    /// Returns whether a message on the topic fulfils the condition.
    pub fn any_published(&self, topic: &str, is_it: impl Fn(&ReceivedMessage) -> bool) -> bool {
        self.state().log.get(topic).is_some_and(|messages| messages.iter().any(is_it))
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

    /// Publishes messages in one batch: they have one publish time and consecutive ids.
    pub fn publish_batch(&self, topic: &str, messages: Vec<Message>) {
        let publish_time_us = self.now_us();
        for message in messages {
            let delay = self.state().rng.random_range(0..60);
            self.store(topic, message, publish_time_us, delay);
        }
    }

    fn store(&self, topic: &str, message: Message, publish_time_us: i64, delay: u64) -> String {
        let received = {
            let mut state = self.state();
            state.next_id += 1;
            let id = state.next_id.to_string();
            let publish_time_us = publish_time_us / 1_000 * 1_000;
            let received = ReceivedMessage { message, id, publish_time_us, attempt: 1 };
            state.log.entry(topic.to_owned()).or_default().push(received.clone());
            received
        };
        let id = received.id.clone();
        self.put(topic, received, delay);
        id
    }

    /// Waits until every message is acked.
    pub async fn drained(&self) {
        loop {
            let changed = self.changed.notified();
            let next = {
                let state = self.state();
                if state.leased.is_empty() && state.pending.values().all(Vec::is_empty) {
                    return;
                }
                state.leased.values().map(|leased| leased.ends).min()
            };
            // A lease that nobody holds any more ends by itself.
            tokio::select! {
                biased;
                () = changed => {}
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    self.end_leases();
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    fn put(&self, topic: &str, received: ReceivedMessage, delay: u64) {
        let due = Instant::now() + Duration::from_millis(delay);
        self.state().pending.entry(topic.to_owned()).or_default().push(PendingMessage { due, received });
        self.changed.notify_waiters();
    }

    /// Makes the messages whose lease has ended available again.
    fn end_leases(&self) {
        let now = Instant::now();
        let ended: Vec<LeasedMessage> = {
            let mut state = self.state();
            let ended: Vec<u64> =
                state.leased.iter().filter(|(_, leased)| leased.ends <= now).map(|(id, _)| *id).collect();
            state.leases_ended += ended.len() as u64;
            ended.into_iter().filter_map(|id| state.leased.remove(&id)).collect()
        };
        for leased in ended {
            self.again(&leased.topic, leased.received, 0);
        }
    }

    fn keeps_leases_of_the_dead(&self) -> bool {
        let mut state = self.state();
        !state.healed && state.rng.random_bool(0.3)
    }

    fn again(&self, topic: &str, received: ReceivedMessage, delay: u64) {
        self.state().redelivered += 1;
        self.put(topic, ReceivedMessage { attempt: received.attempt + 1, ..received }, delay);
    }

    /// Takes a random message that is due, with the number of its lease.
    ///
    /// # Errors
    /// The time at which the next message is due, if there is one.
    fn take(&self, topic: &str) -> Result<(u64, ReceivedMessage), Option<Instant>> {
        self.end_leases();
        let mut state = self.state();
        let now = Instant::now();
        let pending = state.pending.entry(topic.to_owned()).or_default();
        let ready: Vec<usize> = (0..pending.len()).filter(|index| pending[*index].due <= now).collect();
        if ready.is_empty() {
            let due = pending.iter().map(|message| message.due).min();
            let leased = state.leased.values().filter(|leased| leased.topic == topic);
            return Err(due.into_iter().chain(leased.map(|leased| leased.ends)).min());
        }
        let pick = state.rng.random_range(0..ready.len());
        let received = state.pending.get_mut(topic).expect("just found").swap_remove(ready[pick]).received;
        let early = !state.healed && state.rng.random_bool(self.lease_ends_early);
        let lasts = if early { Duration::from_millis(state.rng.random_range(0..10)) } else { ACK_DEADLINE };
        state.next_lease += 1;
        let lease = state.next_lease;
        let leased = LeasedMessage { topic: topic.to_owned(), received: received.clone(), ends: now + lasts };
        state.leased.insert(lease, leased);
        Ok((lease, received))
    }

    /// Ends a delivery, unless its lease has ended. Without an ack that arrives, the message is delivered
    /// again.
    fn finish(&self, lease: u64, acked: bool) {
        let (leased, delay) = {
            let mut state = self.state();
            let delay = state.rng.random_range(0..60);
            (state.leased.remove(&lease), delay)
        };
        if let Some(leased) = leased
            && !acked
        {
            self.again(&leased.topic, leased.received, delay);
        }
        self.changed.notify_waiters();
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let counts: Vec<_> = state.pending.iter().map(|(topic, pending)| (topic, pending.len())).collect();
        write!(f, "{counts:?}, {} leased", state.leased.len())
    }
}

/// The broker as one process of a role reaches it.
#[derive(Clone)]
pub struct RoleBus {
    /// The broker.
    pub broker: Arc<Broker>,
    /// The faults of the role.
    pub injector: Arc<Injector>,
    /// Cancelled when the process is asked to stop.
    pub stop: CancellationToken,
}

struct SimulatedLease {
    bus: RoleBus,
    topic: String,
    received: ReceivedMessage,
    lease: Option<u64>,
}

impl Lease for SimulatedLease {
    fn ack(mut self: Box<Self>) {
        let Some(lease) = self.lease.take() else { return };
        let RoleBus { broker, injector, .. } = &self.bus;
        if !injector.is_dead()
            && let Err(missing) = (broker.check)(broker, &self.topic, &self.received)
        {
            broker.violation(format!("acked {} on {}: {missing}", self.received.id, self.topic));
        }
        let arrives = matches!(injector.at_ack(&self.received.id), None | Some(Fault::KilledAfter));
        broker.finish(lease, arrives);
    }

    fn nack(mut self: Box<Self>) {
        let Some(lease) = self.lease.take() else { return };
        let RoleBus { broker, injector, stop } = &self.bus;
        if !stop.is_cancelled() && !injector.is_dead() && !injector.is_refused() {
            broker.violation(format!("nacked {} on {} while running", self.received.id, self.topic));
        }
        broker.finish(lease, false);
    }
}

impl Drop for SimulatedLease {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        // Some processes that are killed keep their leases until they end.
        if !self.bus.injector.is_dead() || !self.bus.broker.keeps_leases_of_the_dead() {
            self.bus.broker.finish(lease, false);
        }
    }
}

struct SimulatedFeed {
    bus: RoleBus,
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
        match self.bus.is_drained(&self.topic).await {
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

async fn feed(bus: RoleBus, topic: String, channel: mpsc::Sender<Delivery>, stop: CancellationToken) {
    loop {
        let Ok(permit) = (tokio::select! {
            biased;
            () = stop.cancelled() => return,
            permit = channel.reserve() => permit,
        }) else {
            return;
        };
        let changed = bus.broker.changed.notified();
        let due = match bus.broker.take(&topic) {
            Ok((lease, received)) => {
                let (bus, topic, lease) = (bus.clone(), topic.clone(), Some(lease));
                let lease = SimulatedLease { bus, topic, received: received.clone(), lease };
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
    bus: RoleBus,
    topic: String,
}

#[async_trait]
impl Publisher for SimulatedPublisher {
    async fn publish(&self, message: Message) -> Receipt {
        let (RoleBus { broker, injector, .. }, topic) = (self.bus.clone(), self.topic.clone());
        Receipt::new(async move {
            let fault = injector.next(Operation::Publish, &topic).await;
            let unavailable =
                || PublishError::Unavailable { topic: topic.clone(), source: "simulated".into() };
            if fault == Some(Fault::Failed) {
                return Err(unavailable());
            }
            let delay = broker.state().rng.random_range(0..60);
            let delay = if fault == Some(Fault::AppliedLate) { delay + 200 } else { delay };
            let now_us = broker.now_us();
            let id = broker.store(&topic, message, now_us, delay);
            match fault {
                Some(Fault::AnswerLost | Fault::AppliedLate) => return Err(unavailable()),
                Some(Fault::KilledAfter) => injector.kill().await,
                _ => {}
            }
            Ok(id)
        })
    }

    async fn flush(&self) {}
}

#[async_trait]
impl Bus for RoleBus {
    async fn publisher(&self, topic: &str, _: usize) -> Result<Arc<dyn Publisher>, BusError> {
        Ok(Arc::new(SimulatedPublisher { bus: self.clone(), topic: topic.to_owned() }))
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
        let feed = SimulatedFeed { bus: self.clone(), topic, stop, tasks };
        Ok(Subscription::new(receiver, Box::new(feed)))
    }

    async fn topic_state(&self, _: &str) -> Result<TopicState, BusError> {
        Ok(TopicState::Subscribed)
    }

    async fn is_drained(&self, topic: &str) -> Result<Option<bool>, BusError> {
        let state = self.broker.state();
        let is_leased = state.leased.values().any(|leased| leased.topic == topic);
        Ok(Some(!is_leased && state.pending.get(topic).is_none_or(Vec::is_empty)))
    }

    fn describe(&self) -> String {
        "simulated".to_owned()
    }

    async fn close(&self) {}
}
