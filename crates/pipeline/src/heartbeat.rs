//! Heartbeats of a role: one at its start, one every ten seconds, one at its end. They never fail or delay
//! the role; one that could not be written is superseded by the next.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ecom_clock::Clock;
use ecom_domain::event_time::EventTime;
use ecom_domain::heartbeat::Heartbeat;
use ecom_store::OperationsStore;
use ecom_telemetry::metrics::RoleMetrics;

/// The time between two heartbeats.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// The longest a role that has ended waits for its last heartbeat.
pub const LAST: Duration = Duration::from_secs(1);

/// The role that sends heartbeats.
pub struct HeartbeatSource {
    /// The host it runs on.
    pub host: String,
    /// Wall time.
    pub clock: Clock,
    /// Its name, and its watermark.
    pub metrics: Arc<RoleMetrics>,
}

impl HeartbeatSource {
    async fn beat(&self, operations: &dyn OperationsStore) {
        let heartbeat = Heartbeat {
            role: self.metrics.role.as_str().to_owned(),
            host: self.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seen_at: self.clock.now_us(),
            newest_event_at: self.metrics.newest_event().map(EventTime::micros),
        };
        if let Err(error) = operations.record_heartbeat(&heartbeat).await {
            tracing::debug!(role = %self.metrics.role, "{error}");
        }
    }
}

/// Runs a role with its heartbeats, which begin once the operations store is connected.
pub async fn run_with_heartbeat<T>(
    heartbeat_source: &HeartbeatSource,
    operations: impl Future<Output = Arc<dyn OperationsStore>>,
    role: impl Future<Output = T>,
) -> T {
    let connected = OnceLock::new();
    let beats = async {
        let operations = operations.await;
        let operations = connected.get_or_init(|| operations);
        loop {
            heartbeat_source.beat(operations.as_ref()).await;
            tokio::time::sleep(INTERVAL).await;
        }
    };
    let outcome = tokio::select! {
        biased;
        outcome = role => outcome,
        outcome = beats => outcome,
    };
    if let Some(operations) = connected.get()
        && tokio::time::timeout(LAST, heartbeat_source.beat(operations.as_ref())).await.is_err()
    {
        tracing::debug!(role = %heartbeat_source.metrics.role, "the last heartbeat was not written in time");
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use tokio::time::Instant;

    use super::*;
    use ecom_domain::role::Role;
    use ecom_store::StoreError;
    use ecom_store::memory::{Interceptor, MemoryStore, Tables, Write};

    const START: i64 = 1_750_000_000_000_000;

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Mood {
        Writes,
        Fails,
        Hangs,
    }

    struct Notes(Mood, Mutex<Vec<Heartbeat>>);

    #[async_trait]
    impl Interceptor for Notes {
        async fn write(&self, what: &'static str, _: &Mutex<Tables>, write: Write) -> Result<(), StoreError> {
            let mut written = Tables::default();
            write(&mut written);
            self.1.lock().unwrap().extend(written.heartbeats.into_values());
            match self.0 {
                Mood::Writes => Ok(()),
                Mood::Fails => {
                    let source = "no answer".into();
                    Err(StoreError::Unavailable { what, on: "a test".into(), source })
                }
                Mood::Hangs => std::future::pending().await,
            }
        }
    }

    fn heartbeat_source() -> HeartbeatSource {
        let metrics = Arc::new(RoleMetrics::new(Role::OrderConsumer));
        HeartbeatSource { host: "worker-1".into(), clock: Clock::anchored(START), metrics }
    }

    /// Runs a role of 25 s with an operations store that connects after a while. Returns the heartbeats, in
    /// seconds since the start with the newest event, and how long it took.
    async fn run(mood: Mood, connects_after: Duration) -> (Vec<(i64, Option<i64>)>, Duration) {
        let notes = Arc::new(MemoryStore::new(Notes(mood, Mutex::default()), Tables::default()));
        let heartbeat_source = heartbeat_source();
        let started = Instant::now();
        let role = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            heartbeat_source.metrics.advance_watermark(EventTime::stored(7));
            heartbeat_source.metrics.advance_watermark(EventTime::stored(6));
            tokio::time::sleep(Duration::from_secs(20)).await;
            "done"
        };
        let operations = async {
            tokio::time::sleep(connects_after).await;
            Arc::clone(&notes) as Arc<dyn OperationsStore>
        };
        assert_eq!(run_with_heartbeat(&heartbeat_source, operations, role).await, "done");
        let took = started.elapsed();
        let notes = notes.interceptor.1.lock().unwrap();
        assert!(notes.iter().all(|beat| beat.role == "order_consumer" && beat.host == "worker-1"));
        let beats = notes.iter().map(|beat| ((beat.seen_at - START) / 1_000_000, beat.newest_event_at));
        (beats.collect(), took)
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_is_written_at_the_start_every_ten_seconds_and_at_the_end() {
        let (beats, took) = run(Mood::Writes, Duration::ZERO).await;
        assert_eq!(beats, [(0, None), (10, Some(7)), (20, Some(7)), (25, Some(7))]);
        assert_eq!(took.as_secs(), 25);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_neither_fails_nor_delays_the_role_and_the_next_heartbeat_is_tried() {
        let (beats, took) = run(Mood::Fails, Duration::ZERO).await;
        assert_eq!(beats.len(), 4);
        assert_eq!(took.as_secs(), 25);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_never_answers_delays_the_end_of_the_role_by_a_second() {
        let (beats, took) = run(Mood::Hangs, Duration::ZERO).await;
        assert_eq!(beats.len(), 2, "the first, which never ended, and the last");
        assert_eq!(took.as_secs(), 26);
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_runs_without_an_operations_store_and_its_heartbeats_begin_once_it_connects() {
        let (beats, _) = run(Mood::Writes, Duration::from_secs(12)).await;
        assert_eq!(beats, [(12, Some(7)), (22, Some(7)), (25, Some(7))]);
        let (beats, took) = run(Mood::Writes, Duration::from_secs(60)).await;
        assert_eq!((beats.len(), took.as_secs()), (0, 25));
    }
}
