//! Publishing events: stamped once, bounded in flight, repeated through outages.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::durable::{Halt, Retrying};
use crate::bus::{Attributes, Message, Publisher};
use crate::clock::{Chance, Clock};
use crate::metrics::RoleMetrics;

/// An event to publish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// Its body.
    pub body: Bytes,
    /// How often it is published: 2 makes a duplicate with the same id and time.
    pub copies: u8,
}

/// How a producer publishes.
pub struct Produce {
    /// The topic.
    pub publisher: Arc<dyn Publisher>,
    /// Messages without a receipt at most.
    pub window: usize,
    /// Messages per second; `None` = as fast as receipts come.
    pub rate: Option<f64>,
    /// How outages are waited out.
    pub retrying: Arc<Retrying>,
    /// Counts receipts.
    pub metrics: Arc<RoleMetrics>,
    /// Event times.
    pub clock: Clock,
    /// Event ids.
    pub chance: Arc<Chance>,
    /// Cancelled = publish nothing more, wait for the receipts.
    pub stop: CancellationToken,
}

/// Stamps events: ids and strictly increasing times.
struct Stamps {
    last_us: i64,
}

impl Stamps {
    fn next(&mut self, clock: &Clock, chance: &Chance) -> Attributes {
        self.last_us = clock.now_us().max(self.last_us + 1);
        let millis = u64::try_from(self.last_us / 1_000).unwrap_or_default();
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &chance.bytes()).into_uuid();
        Attributes::from_iter([
            ("event_id", id.hyphenated().to_string()),
            ("event_time_us", self.last_us.to_string()),
        ])
    }
}

/// Publishes the events in order and waits for every receipt. Returns how many messages have one.
pub async fn produce(settings: &Produce, events: impl Iterator<Item = Outgoing>) -> Result<u64, Halt> {
    let Produce { publisher, retrying, metrics, clock, chance, stop, .. } = settings;
    let mut stamps = Stamps { last_us: 0 };
    let mut in_flight = FuturesUnordered::new();
    let mut published = 0u64;
    let mut admitted = 0u64;
    let started = Instant::now();
    for event in events {
        let attributes = stamps.next(clock, chance);
        for _ in 0..event.copies.max(1) {
            let due = settings.rate.map(|rate| started + Duration::from_secs_f64(admitted as f64 / rate));
            loop {
                let wait = due.filter(|due| *due > Instant::now());
                let full = in_flight.len() >= settings.window;
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    Some(receipt) = in_flight.next() => {
                        let _: super::durable::Durable = receipt?;
                        metrics.published.inc();
                        published += 1;
                    }
                    () = tokio::time::sleep_until(wait.unwrap_or(started)), if wait.is_some() && !full => {}
                    () = std::future::ready(()), if wait.is_none() && !full => break,
                }
            }
            if stop.is_cancelled() {
                break;
            }
            let message = Message { body: event.body.clone(), attributes: attributes.clone() };
            in_flight.push(async move { retrying.publish(publisher.as_ref(), &message).await });
            admitted += 1;
        }
        if stop.is_cancelled() {
            break;
        }
    }
    while let Some(receipt) = in_flight.next().await {
        receipt?;
        metrics.published.inc();
        published += 1;
    }
    publisher.flush().await;
    Ok(published)
}
