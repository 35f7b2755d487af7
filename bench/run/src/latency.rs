//! The time from the intended send to the row that a reader sees, at a fixed rate: an open loop, so that
//! a consumer that falls behind cannot slow down its own load.

use crate::arm::Kind;
use crate::facts;
use crate::launch::Fresh;
use crate::messages::publisher;
use crate::published::message;
use anyhow::{Result, ensure};
use ecom_domain::{fact::PaymentSlot, order::OrderId};
use ecom_store::FactStore;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// One event in so many is watched until a reader sees it.
const WATCHED: i64 = 100;
/// Interval between two reads of a watched row.
const INTERVAL: Duration = Duration::from_millis(1);
/// An event that is not seen within this is lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Publishes `n` events, `rate` a second, and returns median and 99th percentile of the watched
/// ones, in milliseconds.
pub async fn measure(fresh: &Fresh, kind: Kind, n: i64, rate: u32) -> Result<[f64; 2]> {
    let store = Arc::new(facts::store(&fresh.keyspace).await?);
    let publisher = publisher(&fresh.project, kind.topic()).await?;
    let mut watchers = JoinSet::new();
    let start = Instant::now();
    for id in 1..=n {
        let intended = start + Duration::from_secs(1) * u32::try_from(id)? / rate;
        if let Some(early) = intended.checked_duration_since(Instant::now())
            && early > Duration::from_millis(1)
        {
            tokio::time::sleep(early).await;
        }
        let receipt = publisher.publish(message(kind, id, 0));
        if id % WATCHED != 0 {
            continue;
        }
        let store = Arc::clone(&store);
        watchers.spawn(async move {
            receipt.await?;
            loop {
                match store.payment_slot(OrderId(id)).await? {
                    PaymentSlot::Taken { .. } => break,
                    PaymentSlot::Empty if kind == Kind::Order => break,
                    PaymentSlot::Empty | PaymentSlot::NoOrder => {}
                }
                ensure!(intended.elapsed() <= PATIENCE, "{id} was not seen within {PATIENCE:?}");
                tokio::time::sleep(INTERVAL).await;
            }
            anyhow::Ok(intended.elapsed())
        });
    }
    let mut seen = watchers.join_all().await.into_iter().collect::<Result<Vec<Duration>>>()?;
    ensure!(!seen.is_empty(), "{n} events are too few to watch one in {WATCHED}");
    seen.sort_unstable();
    let at =
        |share: f64| seen[((seen.len() as f64 * share) as usize).min(seen.len() - 1)].as_secs_f64() * 1e3;
    Ok([at(0.5), at(0.99)])
}
