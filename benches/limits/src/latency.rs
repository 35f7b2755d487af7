//! From the intended send time to the row that a reader sees, at a fixed rate: an open loop, so that a
//! consumer that falls behind cannot slow down its own load.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::Outcome;
use crate::bodies::Kind;
use crate::facts::Facts;
use crate::messages::{message, publisher};

/// One event in so many is watched until a reader sees it.
const WATCHED: i64 = 100;
/// Between two looks.
const GLANCE: Duration = Duration::from_millis(1);
/// After this an event counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Prints `p50_ms … p99_ms … watched …`.
pub async fn measure(
    project: &str,
    topic: &str,
    keyspace: &str,
    kind: Kind,
    n: i64,
    rate: u32,
) -> Outcome<()> {
    let facts = Facts::open(keyspace).await?;
    let publisher = publisher(project, topic).await?;
    let seen = Arc::new(Mutex::new(Vec::new()));
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
        let (facts, seen) = (Arc::clone(&facts), Arc::clone(&seen));
        watchers.spawn(async move {
            receipt.await?;
            while !facts.shows(kind, id).await? {
                if intended.elapsed() > PATIENCE {
                    return Err(format!("{id} was not seen within {PATIENCE:?}").into());
                }
                tokio::time::sleep(GLANCE).await;
            }
            seen.lock().expect("no watcher panics").push(intended.elapsed());
            Outcome::Ok(())
        });
    }
    while let Some(watched) = watchers.join_next().await {
        watched??;
    }
    let mut seen = std::mem::take(&mut *seen.lock().expect("no watcher panics"));
    seen.sort_unstable();
    let at = |share: f64| {
        let index = (seen.len() as f64 * share) as usize;
        seen.get(index.min(seen.len().saturating_sub(1))).map_or(0.0, |took| took.as_secs_f64() * 1e3)
    };
    println!("p50_ms {:.1} p99_ms {:.1} watched {}", at(0.5), at(0.99), seen.len());
    Ok(())
}
