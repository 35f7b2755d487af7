//! Pub/Sub: topics, load, and the limits of publishing and pulling.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use google_cloud_auth::credentials::anonymous::Builder as Anonymous;
use google_cloud_pubsub::client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::Message;
use tokio::sync::watch;

use crate::bodies::Kind;
use crate::{Outcome, Progress};

/// Publishes without a receipt at once: beyond it the client's queue would only grow.
const WINDOW: usize = 5_000;

fn endpoint() -> Outcome<String> {
    let host = std::env::var("PUBSUB_EMULATOR_HOST")?;
    Ok(format!("http://{host}"))
}

fn topic_name(project: &str, topic: &str) -> String {
    format!("projects/{project}/topics/{topic}")
}

/// Full name of the subscription of a topic.
pub fn subscription_name(project: &str, topic: &str) -> String {
    format!("projects/{project}/subscriptions/{topic}-sub")
}

async fn admins() -> Outcome<(TopicAdmin, SubscriptionAdmin)> {
    let topics = TopicAdmin::builder().with_endpoint(endpoint()?).with_credentials(Anonymous::new().build());
    let subscriptions =
        SubscriptionAdmin::builder().with_endpoint(endpoint()?).with_credentials(Anonymous::new().build());
    Ok((topics.build().await?, subscriptions.build().await?))
}

/// Creates a topic and its subscription.
pub async fn create(project: &str, name: &str) -> Outcome<()> {
    let (topics, subscriptions) = admins().await?;
    topics.create_topic().set_name(topic_name(project, name)).send().await?;
    let create = subscriptions.create_subscription().set_name(subscription_name(project, name));
    create.set_topic(topic_name(project, name)).set_ack_deadline_seconds(60).send().await?;
    Ok(())
}

/// Deletes a topic and its subscription: the emulator goes on serving the streams of a program that
/// ended, twenty times a second each, for as long as their subscription is there.
pub async fn delete(project: &str, name: &str) -> Outcome<()> {
    let (topics, subscriptions) = admins().await?;
    subscriptions.delete_subscription().set_subscription(subscription_name(project, name)).send().await?;
    topics.delete_topic().set_topic(topic_name(project, name)).send().await?;
    Ok(())
}

/// A publisher that batches 1,000 messages.
pub async fn publisher(project: &str, topic: &str) -> Outcome<Publisher> {
    let builder = Publisher::builder(topic_name(project, topic))
        .with_endpoint(endpoint()?)
        .with_credentials(Anonymous::new().build())
        .set_message_count_threshold(1_000u32);
    Ok(builder.build().await?)
}

/// A subscriber.
pub async fn subscriber() -> Outcome<Subscriber> {
    let builder = Subscriber::builder().with_endpoint(endpoint()?).with_credentials(Anonymous::new().build());
    Ok(builder.build().await?)
}

/// An event as a message.
pub fn message(kind: Kind, id: i64) -> Message {
    Message::new().set_data(kind.body(id))
}

/// R0: flat out.
pub async fn publish(project: &str, topic: &str, n: i64) -> Outcome<()> {
    let publisher = publisher(project, topic).await?;
    let progress = Progress::new(n.unsigned_abs());
    let mut receipts = FuturesUnordered::new();
    for id in 1..=n {
        receipts.push(publisher.publish(message(Kind::Order, id)));
        while receipts.len() >= WINDOW
            && let Some(receipt) = receipts.next().await
        {
            receipt?;
            progress.one();
        }
    }
    while let Some(receipt) = receipts.next().await {
        receipt?;
        progress.one();
    }
    Ok(())
}

/// Load in a closed loop: publishes up to the total that the last line on stdin permits.
pub async fn feed(project: &str, topic: &str, n: i64, message: impl Fn(i64) -> Message) -> Outcome<()> {
    let publisher = publisher(project, topic).await?;
    let (permit, mut permitted) = watch::channel(0i64);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Ok(total) = line.trim().parse() {
                permit.send_replace(total);
            }
        }
    });
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
            }
        }
    }
    while let Some(receipt) = receipts.next().await {
        receipt?;
    }
    Ok(())
}

/// R1: pull and ack.
pub async fn pull(project: &str, topic: &str, n: u64, streams: usize) -> Outcome<()> {
    let subscriber = subscriber().await?;
    let progress = Arc::new(Progress::new(n));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..streams {
        let mut stream = subscriber
            .subscribe(subscription_name(project, topic))
            .set_max_outstanding_messages(1_000i64)
            .build();
        let progress = Arc::clone(&progress);
        tasks.spawn(async move {
            while let Some(Ok((_, handler))) = stream.next().await {
                handler.ack();
                progress.one();
            }
        });
    }
    tasks.join_next().await;
    Err("a stream ended".into())
}

/// A request is billed as this many bytes at least.
const LEAST_BILLED: usize = 1_000;

/// What publishing the messages of a subscription cost: the emulator stamps all messages of a publish
/// request with the same time, which tells how they were batched.
pub async fn billed(project: &str, topic: &str, n: usize) -> Outcome<()> {
    let subscriber = subscriber().await?;
    let mut stream = subscriber.subscribe(subscription_name(project, topic)).build();
    let mut requests: BTreeMap<(i64, i32), usize> = BTreeMap::new();
    for _ in 0..n {
        let (message, handler) = stream.next().await.ok_or("the stream ended")??;
        let at = message.publish_time.ok_or("a message without a publish time")?;
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
