//! One subscription: the messages that are ready, and a lease for each delivery that is outstanding.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as proto;
use serde_json::Value;
use tokio::time::Instant;

/// The most messages and bytes of one response.
const RESPONSE_MESSAGES: usize = 100;
const RESPONSE_BYTES: usize = 1 << 20;

/// A published message.
pub(crate) struct Stored {
    pub(crate) message: proto::PubsubMessage,
    pub(crate) bytes: usize,
}

/// The limits of a stream; 0 is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) ack_deadline: Duration,
}

/// An open stream, with what is outstanding on it.
struct OpenStream {
    limits: StreamLimits,
    messages: usize,
    bytes: usize,
}

impl OpenStream {
    fn has_room(&self) -> bool {
        let below = |limit: usize, outstanding: usize| limit == 0 || outstanding < limit;
        below(self.limits.messages, self.messages) && below(self.limits.bytes, self.bytes)
    }
}

struct Lease {
    message: Arc<Stored>,
    deadline: Instant,
    stream: u64,
}

/// The state of a subscription.
pub(crate) struct Subscription {
    /// The description of the subscription in JSON.
    pub(crate) description: Value,
    ready: VecDeque<Arc<Stored>>,
    unacked: HashSet<String>,
    leases: HashMap<u64, Lease>,
    deadlines: BTreeSet<(Instant, u64)>,
    streams: HashMap<u64, OpenStream>,
    last_ack_id: u64,
    /// The number of deliveries of each message.
    pub(crate) deliveries: HashMap<String, u32>,
    /// The number of leases that ended without an ack or nack.
    pub(crate) expired: u64,
}

impl Subscription {
    pub(crate) fn new(description: Value) -> Self {
        Self {
            description,
            ready: VecDeque::new(),
            unacked: HashSet::new(),
            leases: HashMap::new(),
            deadlines: BTreeSet::new(),
            streams: HashMap::new(),
            last_ack_id: 0,
            deliveries: HashMap::new(),
            expired: 0,
        }
    }

    /// Adds a published message.
    pub(crate) fn publish(&mut self, message: Arc<Stored>) {
        self.unacked.insert(message.message.message_id.clone());
        self.ready.push_back(message);
    }

    /// Returns the number of messages that are not acked.
    pub(crate) fn unacked(&self) -> usize {
        self.unacked.len()
    }

    /// Returns the number of outstanding deliveries and their bytes.
    pub(crate) fn outstanding(&self) -> (usize, usize) {
        (self.leases.len(), self.leases.values().map(|lease| lease.message.bytes).sum())
    }

    /// Returns the number of open streams.
    pub(crate) fn streams(&self) -> usize {
        self.streams.len()
    }

    pub(crate) fn open_stream(&mut self, stream: u64, limits: StreamLimits) {
        self.streams.insert(stream, OpenStream { limits, messages: 0, bytes: 0 });
    }

    /// Forgets a stream. What is outstanding on it is delivered again after its deadline.
    pub(crate) fn close_stream(&mut self, stream: u64) {
        self.streams.remove(&stream);
    }

    /// Takes the messages of the next response to a stream, each with a lease. `copies` says how often the
    /// next message is delivered.
    pub(crate) fn take(
        &mut self,
        stream: u64,
        now: Instant,
        mut copies: impl FnMut() -> u32,
    ) -> Vec<proto::ReceivedMessage> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        let counts_attempts = !self.description["deadLetterPolicy"].is_null();
        while taken.len() < RESPONSE_MESSAGES && bytes < RESPONSE_BYTES {
            let Some(open) = self.streams.get_mut(&stream).filter(|open| open.has_room()) else { break };
            let Some(message) = self.ready.pop_front() else { break };
            let id = &message.message.message_id;
            if !self.unacked.contains(id) {
                continue;
            }
            let copies = copies();
            let delivered = self.deliveries.entry(id.clone()).or_default();
            let deadline = now + open.limits.ack_deadline;
            bytes += message.bytes;
            for _ in 0..copies {
                self.last_ack_id += 1;
                *delivered += 1;
                open.messages += 1;
                open.bytes += message.bytes;
                self.leases.insert(self.last_ack_id, Lease { message: message.clone(), deadline, stream });
                self.deadlines.insert((deadline, self.last_ack_id));
                taken.push(proto::ReceivedMessage {
                    ack_id: format!("ack-{}", self.last_ack_id),
                    message: Some(message.message.clone()),
                    delivery_attempt: i32::try_from(*delivered).unwrap_or(i32::MAX)
                        * i32::from(counts_attempts),
                });
            }
        }
        taken
    }

    /// Acknowledges deliveries. The id of a lease that has ended has no effect.
    pub(crate) fn acknowledge(&mut self, ack_ids: &[String]) {
        for lease in ack_ids.iter().filter_map(|ack_id| parse(ack_id)) {
            if let Some(lease) = self.end_lease(lease) {
                self.unacked.remove(&lease.message.message.message_id);
            }
        }
    }

    /// Sets the deadlines of deliveries; zero is a nack.
    pub(crate) fn modify_ack_deadline(&mut self, ack_ids: &[String], deadline: Duration, now: Instant) {
        for ack_id in ack_ids.iter().filter_map(|ack_id| parse(ack_id)) {
            if deadline.is_zero() {
                self.give_back(ack_id);
            } else if let Some(lease) = self.leases.get_mut(&ack_id) {
                self.deadlines.remove(&(lease.deadline, ack_id));
                lease.deadline = now + deadline;
                self.deadlines.insert((lease.deadline, ack_id));
            }
        }
    }

    /// Ends the leases whose deadline is over. Returns whether there was one.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let before = self.expired;
        while let Some(&(deadline, ack_id)) = self.deadlines.first()
            && deadline <= now
        {
            self.expired += 1;
            self.give_back(ack_id);
        }
        self.expired > before
    }

    /// Reverses the order of the messages that are ready.
    pub(crate) fn reverse(&mut self) {
        self.ready.make_contiguous().reverse();
    }

    fn give_back(&mut self, ack_id: u64) {
        if let Some(lease) = self.end_lease(ack_id)
            && self.unacked.contains(&lease.message.message.message_id)
        {
            self.ready.push_back(lease.message);
        }
    }

    fn end_lease(&mut self, ack_id: u64) -> Option<Lease> {
        let lease = self.leases.remove(&ack_id)?;
        self.deadlines.remove(&(lease.deadline, ack_id));
        if let Some(stream) = self.streams.get_mut(&lease.stream) {
            stream.messages -= 1;
            stream.bytes -= lease.message.bytes;
        }
        Some(lease)
    }
}

fn parse(ack_id: &str) -> Option<u64> {
    ack_id.strip_prefix("ack-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn subscription(messages: &[(&str, usize)]) -> Subscription {
        let mut subscription = Subscription::new(Value::Null);
        for (id, bytes) in messages {
            let message = proto::PubsubMessage { message_id: (*id).to_owned(), ..Default::default() };
            subscription.publish(Arc::new(Stored { message, bytes: *bytes }));
        }
        subscription
    }

    fn open(subscription: &mut Subscription, stream: u64, messages: usize, bytes: usize) {
        subscription.open_stream(stream, StreamLimits { messages, bytes, ack_deadline: DEADLINE });
    }

    fn take(subscription: &mut Subscription, stream: u64, now: Instant) -> Vec<(String, String)> {
        let taken = subscription.take(stream, now, || 1);
        taken.into_iter().map(|received| (received.message.unwrap().message_id, received.ack_id)).collect()
    }

    #[test]
    fn a_lease_ends_at_its_deadline_and_its_ack_id_has_no_effect_afterwards() {
        let (mut subscription, start) = (subscription(&[("a", 1)]), Instant::now());
        open(&mut subscription, 1, 0, 0);
        let first = take(&mut subscription, 1, start).remove(0).1;
        subscription.modify_ack_deadline(std::slice::from_ref(&first), DEADLINE, start + DEADLINE / 2);
        assert!(!subscription.expire(start + DEADLINE));
        assert!(subscription.expire(start + DEADLINE * 3 / 2));
        subscription.acknowledge(&[first]);
        let second = take(&mut subscription, 1, start).remove(0).1;
        subscription.acknowledge(&[second]);
        assert_eq!((subscription.unacked(), subscription.deliveries["a"]), (0, 2));
        assert!(!subscription.expire(start + DEADLINE * 9));
    }

    #[test]
    fn a_stream_gets_no_more_than_its_limits_until_something_is_acked_or_nacked() {
        let start = Instant::now();
        let mut subscription = subscription(&[("a", 6), ("b", 6), ("c", 6), ("d", 1)]);
        open(&mut subscription, 1, 3, 10);
        let taken = take(&mut subscription, 1, start);
        let ids: Vec<_> = taken.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["a", "b"], "the second exceeds the bytes, which stops the third");
        assert!(take(&mut subscription, 1, start).is_empty());
        subscription.acknowledge(&[taken[0].1.clone()]);
        assert_eq!(take(&mut subscription, 1, start).len(), 1);
        subscription.modify_ack_deadline(&[taken[1].1.clone()], Duration::ZERO, start);
        assert_eq!(take(&mut subscription, 1, start).len(), 2);
        subscription.close_stream(1);
        assert!(take(&mut subscription, 1, start).is_empty());
    }

    #[test]
    fn a_message_delivered_twice_is_finished_by_either_ack() {
        let (mut subscription, start) = (subscription(&[("a", 1)]), Instant::now());
        open(&mut subscription, 1, 0, 0);
        let twice = subscription.take(1, start, || 2);
        subscription.acknowledge(&[twice[1].ack_id.clone()]);
        assert!(subscription.expire(start + DEADLINE));
        assert!(take(&mut subscription, 1, start).is_empty());
        assert_eq!(subscription.unacked(), 0);
    }
}
