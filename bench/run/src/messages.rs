//! Pub/Sub: topics, load, and the limits of publishing and pulling.

use crate::Progress;
use crate::arm::Kind;
use crate::bodies::body;
use anyhow::{Context, Result, bail};
use futures_util::stream::{FuturesUnordered, StreamExt};
use google_cloud_auth::credentials::anonymous::Builder as Anonymous;
use google_cloud_pubsub::client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::MessageStream;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Messages published and not yet acknowledged by the service, at most.
const WINDOW: usize = 5_000;

fn endpoint() -> Result<String> {
    let host = std::env::var("PUBSUB_EMULATOR_HOST").context("PUBSUB_EMULATOR_HOST is not set")?;
    Ok(format!("http://{host}"))
}

fn topic_name(project: &str, topic: &str) -> String {
    format!("projects/{project}/topics/{topic}")
}

fn subscription_name(project: &str, topic: &str) -> String {
    format!("projects/{project}/subscriptions/{topic}-sub")
}

async fn admins() -> Result<(TopicAdmin, SubscriptionAdmin)> {
    let topics = TopicAdmin::builder().with_endpoint(endpoint()?).with_credentials(Anonymous::new().build());
    let subscriptions =
        SubscriptionAdmin::builder().with_endpoint(endpoint()?).with_credentials(Anonymous::new().build());
    Ok((topics.build().await?, subscriptions.build().await?))
}

/// Creates a topic and its subscription.
pub async fn create(project: &str, name: &str) -> Result<()> {
    let (topics, subscriptions) = admins().await?;
    topics.create_topic().set_name(topic_name(project, name)).send().await?;
    let create = subscriptions.create_subscription().set_name(subscription_name(project, name));
    create.set_topic(topic_name(project, name)).set_ack_deadline_seconds(60).send().await?;
    Ok(())
}

/// Deletes a topic and its subscription: the emulator goes on serving the streams of a program that
/// ended, twenty times a second each, for as long as their subscription is there.
pub async fn delete(project: &str, name: &str) -> Result<()> {
    let (topics, subscriptions) = admins().await?;
    subscriptions.delete_subscription().set_subscription(subscription_name(project, name)).send().await?;
    topics.delete_topic().set_topic(topic_name(project, name)).send().await?;
    Ok(())
}

/// Returns a publisher that batches 1,000 messages.
pub async fn publisher(project: &str, topic: &str) -> Result<Publisher> {
    let builder = Publisher::builder(topic_name(project, topic))
        .with_endpoint(endpoint()?)
        .with_credentials(Anonymous::new().build())
        .set_message_count_threshold(1_000u32);
    Ok(builder.build().await?)
}

/// Returns a subscriber.
pub async fn subscriber() -> Result<Subscriber> {
    let builder = Subscriber::builder().with_endpoint(endpoint()?).with_credentials(Anonymous::new().build());
    Ok(builder.build().await?)
}

/// Opens a stream on the subscription of a topic.
pub fn stream(subscriber: &Subscriber, project: &str, topic: &str) -> MessageStream {
    let subscription = subscription_name(project, topic);
    subscriber.subscribe(subscription).set_max_outstanding_messages(1_000i64).build()
}

/// Returns an event as a message.
pub fn message(kind: Kind, id: i64) -> Message {
    Message::new().set_data(body(kind, id))
}

/// R0: publishes flat out.
pub async fn publish(project: &str, n: i64) -> Result<()> {
    let progress = Progress::new(n.unsigned_abs());
    let (_permit, permitted) = watch::channel(n);
    let message = |id| message(Kind::Order, id);
    feed_and_count(project, Kind::Order.topic(), n, permitted, message, || progress.add_one()).await
}

/// Load in a closed loop: publishes up to the total that is permitted.
pub async fn feed(
    project: &str,
    topic: &str,
    n: i64,
    permitted: watch::Receiver<i64>,
    message: impl Fn(i64) -> Message,
) -> Result<()> {
    feed_and_count(project, topic, n, permitted, message, || {}).await
}

async fn feed_and_count(
    project: &str,
    topic: &str,
    n: i64,
    mut permitted: watch::Receiver<i64>,
    message: impl Fn(i64) -> Message,
    count: impl Fn(),
) -> Result<()> {
    let publisher = publisher(project, topic).await?;
    let mut receipts = FuturesUnordered::new();
    let mut id = 0;
    while id < n {
        let total = *permitted.wait_for(|total| *total > id).await?;
        while id < total.min(n) {
            id += 1;
            receipts.push(publisher.publish(message(id)));
            while receipts.len() >= WINDOW
                && let Some(receipt) = receipts.next().await
            {
                receipt?;
                count();
            }
        }
    }
    while let Some(receipt) = receipts.next().await {
        receipt?;
        count();
    }
    Ok(())
}

/// R1: pulls and acks.
pub async fn pull(project: &str, n: u64, streams: usize) -> Result<()> {
    let subscriber = subscriber().await?;
    let progress = Arc::new(Progress::new(n));
    let mut tasks = JoinSet::new();
    for _ in 0..streams {
        let mut stream = stream(&subscriber, project, Kind::Order.topic());
        let progress = Arc::clone(&progress);
        tasks.spawn(async move {
            while let Some(Ok((_, handler))) = stream.next().await {
                handler.ack();
                progress.add_one();
            }
        });
    }
    tasks.join_next().await;
    bail!("a stream ended")
}

/// A request is billed as this many bytes at least.
const LEAST_BILLED: usize = 1_000;

/// Prints how the messages of a subscription were batched and billed: the emulator stamps all messages of
/// a publish request with the same time.
pub async fn billed(project: &str, topic: &str, n: usize) -> Result<()> {
    let subscriber = subscriber().await?;
    let mut stream = stream(&subscriber, project, topic);
    let mut requests: BTreeMap<(i64, i32), usize> = BTreeMap::new();
    for _ in 0..n {
        let (message, handler) = stream.next().await.context("the stream ended")??;
        let at = message.publish_time.context("a message without a publish time")?;
        let attributes = message.attributes.iter().map(|(name, value)| name.len() + value.len());
        *requests.entry((at.seconds(), at.nanos())).or_default() +=
            message.data.len() + attributes.sum::<usize>();
        handler.ack();
    }
    let bytes: usize = requests.values().sum();
    let billed: usize = requests.values().map(|bytes| (*bytes).max(LEAST_BILLED)).sum();
    println!(
        "{n} messages in {} requests: {:.0} bytes each, {:.0} billed, {:.3} of the least",
        requests.len(),
        bytes as f64 / n as f64,
        billed as f64 / n as f64,
        billed as f64 / bytes as f64
    );
    Ok(())
}
