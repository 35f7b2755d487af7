//! Publishing: one job writes all messages that are waiting on a topic.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::Connection;
use serde::Serializer;
use tokio::sync::{Semaphore, oneshot};

use super::engine::Engine;
use super::job::{EngineError, Job, TransactionKind};
use super::topic_notifier::TopicNotifier;
use ecom_bus::{Attributes, ByteBudget, Message, PublishError, Publisher, Receipt};
use ecom_clock::Clock;

const LAST: &str = "SELECT last_message, last_publish_time FROM topics WHERE id = ?1";
const SUBSCRIBERS: &str = "SELECT id FROM subscriptions WHERE topic = ?1";
const INSERT: &str = "INSERT INTO messages (subscription, id, attempt, publish_time, attributes, body)
    VALUES (?1, ?2, 0, ?3, ?4, ?5)";
const ADVANCE: &str = "UPDATE topics SET last_message = ?2, last_publish_time = ?3 WHERE id = ?1";

/// A publisher on a topic.
pub(super) struct TopicPublisher {
    engine: Engine,
    topic: i64,
    full_name: Arc<str>,
    window: Arc<Semaphore>,
    bytes: ByteBudget,
    notifier: TopicNotifier,
    clock: Clock,
    outbox: Arc<Mutex<Outbox>>,
}

/// The most messages that wait for their publish acknowledgement, and their most bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct PublishWindow {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

/// Messages waiting to be published. Bounded by the window.
#[derive(Default)]
struct Outbox {
    messages: Vec<PendingMessage>,
    /// True while a submitted job is going to take them.
    has_job: bool,
}

/// A message without a publish acknowledgement.
struct PendingMessage {
    attributes: String,
    body: Bytes,
    /// The time it was submitted, in microseconds since the epoch.
    now: i64,
    /// Receives the message id, or the error.
    reply: oneshot::Sender<Result<i64, EngineError>>,
}

/// The job that writes the outbox to the file.
struct PublishJob {
    topic: i64,
    outbox: Arc<Mutex<Outbox>>,
    notifier: TopicNotifier,
    /// The messages, once taken from the outbox.
    taken: Option<Vec<PendingMessage>>,
    /// The last id before those of its messages.
    last: i64,
}

impl TopicPublisher {
    /// Returns a publisher on the topic with this row id. `publish` waits while the window is full.
    pub(super) fn new(
        engine: Engine,
        topic: i64,
        full_name: String,
        window: PublishWindow,
        notifier: TopicNotifier,
        clock: Clock,
    ) -> Self {
        let bytes = ByteBudget::new(window.bytes);
        let window = Arc::new(Semaphore::new(window.messages.clamp(1, Semaphore::MAX_PERMITS)));
        let full_name = full_name.into();
        Self { engine, topic, full_name, window, bytes, notifier, clock, outbox: Arc::default() }
    }

    fn job(&self) -> PublishJob {
        let (outbox, notifier) = (Arc::clone(&self.outbox), self.notifier.clone());
        PublishJob { topic: self.topic, outbox, notifier, taken: None, last: 0 }
    }
}

#[async_trait]
impl Publisher for TopicPublisher {
    async fn publish(&self, message: Message) -> Receipt {
        let permit = Arc::clone(&self.window).acquire_owned().await.expect("the window is never closed");
        let share = self.bytes.share(message.size()).await;
        let (reply, result) = oneshot::channel();
        let attributes = encode(&message.attributes);
        // No await between here and the submission: every message in the outbox has a job that takes it.
        if let Ok(slot) = self.engine.reserve().await {
            let pending = PendingMessage { attributes, body: message.body, now: self.clock.now_us(), reply };
            let has_job = {
                let mut outbox = lock(&self.outbox);
                outbox.messages.push(pending);
                std::mem::replace(&mut outbox.has_job, true)
            };
            if !has_job {
                slot.submit(TransactionKind::Write, Box::new(self.job()));
            }
        }
        let topic = Arc::clone(&self.full_name);
        Receipt::new(async move {
            let published = result.await.unwrap_or(Err(EngineError::Stopped));
            drop((permit, share));
            published.map(|id| id.to_string()).map_err(|error| publish_error(&topic, error))
        })
    }

    async fn flush(&self) {
        self.engine.barrier().await;
    }
}

impl PublishJob {
    fn take(&mut self) -> &mut Vec<PendingMessage> {
        self.taken.get_or_insert_with(|| std::mem::take(&mut *lock(&self.outbox)).messages)
    }
}

impl Job for PublishJob {
    fn run(&mut self, connection: &Connection) -> Result<(), EngineError> {
        self.last = insert(connection, self.topic, self.take())?;
        Ok(())
    }

    fn report(mut self: Box<Self>, failed: Option<&EngineError>) {
        if failed.is_none() {
            self.notifier.notify();
        }
        for (id, pending) in (self.last + 1..).zip(std::mem::take(self.take())) {
            // The caller may have been dropped.
            let _ = pending.reply.send(failed.map_or(Ok(id), |error| Err(error.clone())));
        }
    }
}

/// Drops the messages of a job that cannot run, so that their callers do not wait for it.
impl Drop for PublishJob {
    fn drop(&mut self) {
        self.take();
    }
}

/// Writes the messages, one row per subscription, and returns the last id before them. Publish times never
/// fall within a topic, whatever the clocks of its publishers do.
fn insert(connection: &Connection, topic: i64, messages: &[PendingMessage]) -> rusqlite::Result<i64> {
    let (last, mut time): (i64, i64) =
        connection.prepare_cached(LAST)?.query_row([topic], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut subscribers = connection.prepare_cached(SUBSCRIBERS)?;
    let subscribers: Vec<i64> =
        subscribers.query_map([topic], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut insert = connection.prepare_cached(INSERT)?;
    let mut id = last;
    for PendingMessage { attributes, body, now, .. } in messages {
        id += 1;
        time = time.max(*now);
        for subscriber in &subscribers {
            insert.execute((subscriber, id, time, attributes, &**body))?;
        }
    }
    connection.prepare_cached(ADVANCE)?.execute((topic, id, time))?;
    Ok(last)
}

/// Encodes attributes as a JSON object.
fn encode(attributes: &Attributes) -> String {
    let mut json = Vec::with_capacity(64 * attributes.len());
    serde_json::Serializer::new(&mut json)
        .collect_map(attributes.iter())
        .expect("text keys and values always make an object");
    String::from_utf8(json).expect("the serializer writes UTF-8")
}

fn publish_error(topic: &str, error: EngineError) -> PublishError {
    let topic = topic.to_owned();
    if error.is_outage() {
        PublishError::Unavailable { topic, source: Box::new(error) }
    } else {
        PublishError::Refused { topic, source: Box::new(error) }
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
        assert!(second.as_mut().now_or_never().is_none(), "an unresolved receipt keeps its permit");
        receipt.await.unwrap();
        soon(second).await.await.unwrap();
    }
}
