//! The minimal loop over both services: pull, decode, write, ack; a task per message, and nothing of
//! what makes it safe to run.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::bodies::Kind;
use crate::facts::Facts;
use crate::messages::{subscriber, subscription_name};
use crate::{Outcome, Progress};

/// How much at once.
pub struct Shape {
    /// Streams.
    pub streams: usize,
    /// Messages in work.
    pub window: usize,
}

/// Consumes for ever; the benchmark ends it.
pub async fn consume(
    project: &str,
    topic: &str,
    keyspace: &str,
    kind: Kind,
    n: u64,
    shape: Shape,
) -> Outcome<()> {
    let facts = Facts::open(keyspace).await?;
    let subscriber = subscriber().await?;
    let progress = Arc::new(Progress::new(n));
    let permits = Arc::new(Semaphore::new(shape.window));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..shape.streams {
        let mut stream = subscriber
            .subscribe(subscription_name(project, topic))
            .set_max_outstanding_messages(1_000i64)
            .build();
        let (facts, progress, permits) = (Arc::clone(&facts), Arc::clone(&progress), Arc::clone(&permits));
        tasks.spawn(async move {
            loop {
                let permit = Arc::clone(&permits).acquire_owned().await?;
                let Some((message, handler)) = stream.next().await.transpose()? else {
                    return Outcome::Ok(());
                };
                let (facts, progress) = (Arc::clone(&facts), Arc::clone(&progress));
                tokio::spawn(async move {
                    let t = 1_700_000_000_000_001;
                    let written = match kind {
                        Kind::Order => facts.order(&message.data, t).await,
                        Kind::Payment => facts.payment(&message.data, t).await.map(drop),
                    };
                    match written {
                        Ok(()) => handler.ack(),
                        Err(error) => eprintln!("not written: {error}"),
                    }
                    progress.one();
                    drop(permit);
                });
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Err("every stream ended".into())
}
