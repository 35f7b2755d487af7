//! Pub/Sub: topics, load, the limits of publishing and pulling, and the shortest loop over both services.

use crate::facts::{Facts, T};
use crate::{arm::Kind, count, published::message};
use anyhow::{Context, Result, bail};
use futures_util::stream::{FuturesUnordered, StreamExt};
use google_cloud_auth::credentials::anonymous::Builder as Anonymous;
use google_cloud_pubsub::client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::subscriber::MessageStream;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Messages published and not yet acknowledged by the service, at most.
const WINDOW: usize = 5_000;

/// Returns the emulator's address.
pub fn emulator() -> Result<String> {
    std::env::var("PUBSUB_EMULATOR_HOST").context("PUBSUB_EMULATOR_HOST is not set")
}

fn endpoint() -> Result<String> {
    Ok(format!("http://{}", emulator()?))
}

fn topic_name(project: &str, topic: &str) -> String {
    format!("projects/{project}/topics/{topic}")
}

fn subscription_name(project: &str, topic: &str) -> String {
    format!("projects/{project}/subscriptions/{topic}-sub")
}

/// Deletes a topic and its subscription: the emulator goes on serving the streams of a program that
/// ended, twenty times a second each, for as long as their subscription is there.
pub async fn delete(project: &str, name: &str) -> Result<()> {
    let (topic, subscription) = (topic_name(project, name), subscription_name(project, name));
    let admin =
        SubscriptionAdmin::builder().with_endpoint(endpoint()?).with_credentials(Anonymous::new().build());
    admin.build().await?.delete_subscription().set_subscription(subscription).send().await?;
    let admin = TopicAdmin::builder().with_endpoint(endpoint()?).with_credentials(Anonymous::new().build());
    admin.build().await?.delete_topic().set_topic(topic).send().await?;
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

/// R0: publishes flat out.
pub async fn publish(project: &str, n: i64) -> Result<()> {
    let (_permit, permitted) = watch::channel(n);
    feed(project, Kind::Order, n, 0, permitted, || count(n)).await
}

/// Publishes events 1 to `n`, up to the total that is permitted, and calls `count` for each that the service
/// has acknowledged.
pub async fn feed(
    project: &str,
    kind: Kind,
    n: i64,
    began: i64,
    mut permitted: watch::Receiver<i64>,
    count: impl Fn(),
) -> Result<()> {
    let publisher = publisher(project, kind.topic()).await?;
    let mut receipts = FuturesUnordered::new();
    for id in 1..=n {
        permitted.wait_for(|total| *total >= id).await?;
        receipts.push(publisher.publish(message(kind, id, began)));
        while receipts.len() >= WINDOW
            && let Some(receipt) = receipts.next().await
        {
            receipt?;
            count();
        }
    }
    while let Some(receipt) = receipts.next().await {
        receipt?;
        count();
    }
    Ok(())
}

/// R1: pulls and acks.
pub async fn pull(project: &str, n: i64, streams: usize) -> Result<()> {
    let subscriber = subscriber().await?;
    let mut tasks = JoinSet::new();
    for _ in 0..streams {
        let mut stream = stream(&subscriber, project, Kind::Order.topic());
        tasks.spawn(async move {
            while let Some(Ok((_, handler))) = stream.next().await {
                handler.ack();
                count(n);
            }
        });
    }
    tasks.join_next().await;
    bail!("a stream ended")
}

/// The shortest loop over both services that works, without end: pull, decode, write, ack; a task per message,
/// and nothing of what makes it safe to run.
pub async fn consume(project: &str, keyspace: &str, kind: Kind, n: i64, streams: usize) -> Result<()> {
    let (facts, subscriber) = (Facts::open(keyspace).await?, subscriber().await?);
    let permits = Arc::new(Semaphore::new(kind.window()));
    let mut tasks = JoinSet::new();
    for _ in 0..streams {
        let mut stream = stream(&subscriber, project, kind.topic());
        let (facts, permits) = (Arc::clone(&facts), Arc::clone(&permits));
        tasks.spawn(async move {
            while let Some((message, handler)) = stream.next().await.transpose()? {
                let permit = Arc::clone(&permits).acquire_owned().await?;
                let facts = Arc::clone(&facts);
                tokio::spawn(async move {
                    match facts.write(kind, &message.data, T + 1).await {
                        Ok(()) => handler.ack(),
                        Err(error) => eprintln!("not written: {error}"),
                    }
                    count(n);
                    drop(permit);
                });
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    bail!("every stream ended")
}

/// Prints how the messages of a subscription were batched and billed: the emulator stamps all messages of
/// a publish request with the same time, and a request is billed as 1,000 bytes at least.
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
    let billed: usize = requests.values().map(|bytes| (*bytes).max(1_000)).sum();
    let [each, billed_each] = [bytes, billed].map(|all| all as f64 / n as f64);
    let (requests, over) = (requests.len(), billed_each / each);
    println!(
        "{n} messages in {requests} requests: {each:.0} bytes each, {billed_each:.0} billed, {over:.3} of the least"
    );
    Ok(())
}
