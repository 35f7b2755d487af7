//! The shortest loop over both services that works: pull, decode, write, ack; a task per message, and
//! nothing of what makes it safe to run.

use crate::Progress;
use crate::arm::Kind;
use crate::facts::{Facts, T};
use crate::messages::{stream, subscriber};
use anyhow::{Result, bail};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Consumes without end; the benchmark ends the process.
pub async fn consume(
    project: &str,
    keyspace: &str,
    kind: Kind,
    n: i64,
    streams: usize,
    window: usize,
) -> Result<()> {
    let facts = Facts::open(keyspace).await?;
    let subscriber = subscriber().await?;
    let (progress, permits) = (Arc::new(Progress::new(n)), Arc::new(Semaphore::new(window)));
    let mut tasks = JoinSet::new();
    for _ in 0..streams {
        let mut stream = stream(&subscriber, project, kind.topic());
        let (facts, progress, permits) = (Arc::clone(&facts), Arc::clone(&progress), Arc::clone(&permits));
        tasks.spawn(async move {
            loop {
                let permit = Arc::clone(&permits).acquire_owned().await?;
                let Some((message, handler)) = stream.next().await.transpose()? else {
                    return anyhow::Ok(());
                };
                let (facts, progress) = (Arc::clone(&facts), Arc::clone(&progress));
                tokio::spawn(async move {
                    match facts.write(kind, &message.data, T + 1).await {
                        Ok(()) => handler.ack(),
                        Err(error) => eprintln!("not written: {error}"),
                    }
                    progress.add_one();
                    drop(permit);
                });
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    bail!("every stream ended")
}
