//! A simulated bus: it delivers messages in random order and more than once, and a lease may end while its
//! delivery is still processed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ecom_bus::{Message, ReceivedMessage};
use ecom_clock::Clock;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

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
    ack_check: AckCheck,
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
    pub fn new(seed: u64, clock: Clock, lease_ends_early: f64, ack_check: AckCheck) -> Arc<Self> {
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
        Arc::new(Self { state, changed, clock, lease_ends_early, ack_check })
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
            let delay = self.random_delay();
            self.store(topic, message, publish_time_us, delay);
        }
    }

    /// Stores a message and returns its id; it is delivered after `delay` ms.
    pub(crate) fn store(&self, topic: &str, message: Message, publish_time_us: i64, delay: u64) -> String {
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

    /// Returns an error unless this message may be acked now.
    pub(crate) fn check(&self, topic: &str, received: &ReceivedMessage) -> Result<(), String> {
        (self.ack_check)(self, topic, received)
    }

    /// Completes when a message is published, acked or nacked.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Returns the time from a publish to the first delivery, in milliseconds.
    pub(crate) fn random_delay(&self) -> u64 {
        self.state().rng.random_range(0..60)
    }

    /// Returns whether every message of the topic is acked.
    pub(crate) fn is_drained(&self, topic: &str) -> bool {
        let state = self.state();
        let is_leased = state.leased.values().any(|leased| leased.topic == topic);
        !is_leased && state.pending.get(topic).is_none_or(Vec::is_empty)
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
            // A lease whose process was killed ends by itself.
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

    /// Draws whether the leases of a process that was killed end by themselves only.
    pub(crate) fn keeps_leases_of_the_dead(&self) -> bool {
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
    pub(crate) fn take(&self, topic: &str) -> Result<(u64, ReceivedMessage), Option<Instant>> {
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
    pub(crate) fn finish(&self, lease: u64, acked: bool) {
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
