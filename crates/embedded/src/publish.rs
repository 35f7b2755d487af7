//! Publishing: what waits to be published on a topic is written by one job.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::Connection;
use serde::Serializer;
use tokio::sync::{Semaphore, oneshot};

use super::engine::{Access, Engine, Failure, Job, TopicNotifier};
use ecom_bus::{Attributes, Message, PublishError, Publisher, Receipt};
use ecom_clock::Clock;

const LAST: &str = "SELECT last_message, last_publish_time FROM topics WHERE id = ?1";
const SUBSCRIBERS: &str = "SELECT id FROM subscriptions WHERE topic = ?1";
const INSERT: &str = "INSERT INTO messages (subscription, id, attempt, publish_time, attributes, body)
    VALUES (?1, ?2, 0, ?3, ?4, ?5)";
const ADVANCE: &str = "UPDATE topics SET last_message = ?2, last_publish_time = ?3 WHERE id = ?1";

/// Publishes on one topic.
pub(super) struct TopicPublisher {
    engine: Engine,
    topic: i64,
    full_name: Arc<str>,
    window: Arc<Semaphore>,
    notifier: TopicNotifier,
    clock: Clock,
    outbox: Arc<Mutex<Outbox>>,
}

/// What is to be published. Bounded by the window.
#[derive(Default)]
struct Outbox {
    messages: Vec<Waiting>,
    /// Whether a job is on its way that will take them.
    called_for: bool,
}

/// A message that has no receipt yet.
struct Waiting {
    attributes: String,
    body: Bytes,
    /// When it was handed over, microseconds since the epoch.
    now: i64,
    /// Its id, or why it was not published.
    reply: oneshot::Sender<Result<i64, Failure>>,
}

/// Empties the outbox into the file.
struct Post {
    topic: i64,
    outbox: Arc<Mutex<Outbox>>,
    notifier: TopicNotifier,
    /// What it has taken, once it has.
    taken: Option<Vec<Waiting>>,
    /// The id before those it gave.
    last: i64,
}

impl TopicPublisher {
    /// A publisher on the topic with this row id; at most `window` messages wait for their receipts.
    pub(super) fn new(
        engine: Engine,
        topic: i64,
        full_name: String,
        window: usize,
        notifier: TopicNotifier,
        clock: Clock,
    ) -> Self {
        let window = Arc::new(Semaphore::new(window.clamp(1, Semaphore::MAX_PERMITS)));
        Self { engine, topic, full_name: full_name.into(), window, notifier, clock, outbox: Arc::default() }
    }

    fn post(&self) -> Post {
        let (outbox, notifier) = (Arc::clone(&self.outbox), self.notifier.clone());
        Post { topic: self.topic, outbox, notifier, taken: None, last: 0 }
    }
}

#[async_trait]
impl Publisher for TopicPublisher {
    async fn publish(&self, message: Message) -> Receipt {
        let permit = Arc::clone(&self.window).acquire_owned().await.expect("the window is never closed");
        let (reply, answer) = oneshot::channel();
        let attributes = encode(&message.attributes);
        // From here on nothing waits: a message in the outbox has a job that takes it.
        if let Ok(place) = self.engine.place().await {
            let waiting = Waiting { attributes, body: message.body, now: self.clock.now_us(), reply };
            let called_for = {
                let mut outbox = lock(&self.outbox);
                outbox.messages.push(waiting);
                std::mem::replace(&mut outbox.called_for, true)
            };
            if !called_for {
                place.take(Access::Write, Box::new(self.post()));
            }
        }
        let topic = Arc::clone(&self.full_name);
        Receipt::new(async move {
            let outcome = answer.await.unwrap_or(Err(Failure::OperationReport));
            drop(permit);
            outcome.map(|id| id.to_string()).map_err(|failure| refusal(&topic, failure))
        })
    }

    async fn flush(&self) {
        self.engine.barrier().await;
    }
}

impl Post {
    fn take(&mut self) -> &mut Vec<Waiting> {
        self.taken.get_or_insert_with(|| std::mem::take(&mut *lock(&self.outbox)).messages)
    }
}

impl Job for Post {
    fn run(&mut self, connection: &Connection) -> Result<(), Failure> {
        self.last = insert(connection, self.topic, self.take())?;
        Ok(())
    }

    fn answer(mut self: Box<Self>, failed: Option<&Failure>) {
        if failed.is_none() {
            self.notifier.ring();
        }
        for (id, waiting) in (self.last + 1..).zip(std::mem::take(self.take())) {
            // Whoever asked may have gone away.
            let _ = waiting.reply.send(failed.map_or(Ok(id), |failure| Err(failure.clone())));
        }
    }
}

/// Where nobody is left to run it, nobody is to wait for it.
impl Drop for Post {
    fn drop(&mut self) {
        self.take();
    }
}

/// Writes the messages, one row for each subscription; the id of the last one before them. Publish
/// times never fall within a topic, whatever the clocks of its publishers do.
fn insert(connection: &Connection, topic: i64, messages: &[Waiting]) -> rusqlite::Result<i64> {
    let (last, mut time): (i64, i64) =
        connection.prepare_cached(LAST)?.query_row([topic], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut subscribers = connection.prepare_cached(SUBSCRIBERS)?;
    let subscribers: Vec<i64> =
        subscribers.query_map([topic], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut insert = connection.prepare_cached(INSERT)?;
    let mut id = last;
    for Waiting { attributes, body, now, .. } in messages {
        id += 1;
        time = time.max(*now);
        for subscriber in &subscribers {
            insert.execute((subscriber, id, time, attributes, &**body))?;
        }
    }
    connection.prepare_cached(ADVANCE)?.execute((topic, id, time))?;
    Ok(last)
}

/// Attributes as a JSON object, by name.
fn encode(attributes: &Attributes) -> String {
    let mut json = Vec::with_capacity(64 * attributes.len());
    serde_json::Serializer::new(&mut json)
        .collect_map(attributes.iter())
        .expect("text keys and values always make an object");
    String::from_utf8(json).expect("the serializer writes UTF-8")
}

fn refusal(topic: &str, failure: Failure) -> PublishError {
    let topic = topic.to_owned();
    if failure.is_outage() {
        PublishError::Unavailable { topic, source: Box::new(failure) }
    } else {
        PublishError::Refused { topic, source: Box::new(failure) }
    }
}

fn lock(outbox: &Mutex<Outbox>) -> std::sync::MutexGuard<'_, Outbox> {
    outbox.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::super::testing::{TOPIC, process, soon};
    use super::*;
    use ecom_bus::Bus;

    #[tokio::test]
    async fn a_full_window_makes_publishers_wait() {
        let dir = tempfile::tempdir().unwrap();
        let bus = process(dir.path());
        let publisher = bus.publisher(TOPIC, 1).await.unwrap();
        let receipt = publisher.publish(Message::default()).await;
        let mut second = publisher.publish(Message::default());
        assert!(second.as_mut().now_or_never().is_none());
        soon(publisher.flush()).await;
        assert!(second.as_mut().now_or_never().is_none(), "the receipt keeps its place");
        receipt.await.unwrap();
        soon(second).await.await.unwrap();
    }
}
