//! The time from the intended send to the row that a reader sees, at a fixed rate: an open loop, so that
//! a consumer that falls behind cannot slow down its own load.

use crate::arm::Kind;
use crate::facts::Facts;
use crate::measured::Latency;
use crate::messages::{message, publisher};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// One event in so many is watched until a reader sees it.
const WATCHED: i64 = 100;
/// Interval between two reads of a watched row.
const INTERVAL: Duration = Duration::from_millis(1);
/// An event that is not seen within this is lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Publishes `n` events, `rate` a second, and returns the percentiles of the watched ones.
pub async fn measure(project: &str, keyspace: &str, kind: Kind, n: i64, rate: u32) -> Result<Latency> {
    let facts = Facts::open(keyspace).await?;
    let publisher = publisher(project, kind.topic()).await?;
    let mut watchers = JoinSet::new();
    let start = Instant::now();
    for id in 1..=n {
        let intended = start + Duration::from_secs(1) * u32::try_from(id)? / rate;
        if let Some(early) = intended.checked_duration_since(Instant::now())
            && early > Duration::from_millis(1)
        {
            tokio::time::sleep(early).await;
        }
        let receipt = publisher.publish(message(kind, id));
        if id % WATCHED != 0 {
            continue;
        }
        let facts = facts.clone();
        watchers.spawn(async move {
            receipt.await?;
            while !facts.shows(kind, id).await? {
                ensure!(intended.elapsed() <= PATIENCE, "{id} was not seen within {PATIENCE:?}");
                tokio::time::sleep(INTERVAL).await;
            }
            anyhow::Ok(intended.elapsed())
        });
    }
    let mut seen = watchers.join_all().await.into_iter().collect::<Result<Vec<Duration>>>()?;
    ensure!(!seen.is_empty(), "{n} events are too few to watch one in {WATCHED}");
    seen.sort_unstable();
    let at = |share: f64| {
        let index = (seen.len() as f64 * share) as usize;
        seen[index.min(seen.len() - 1)].as_secs_f64() * 1e3
    };
    Ok(Latency { p50: at(0.5), p99: at(0.99) })
}
