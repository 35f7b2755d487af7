//! Reading the dead-letter store for the gauges: all of it, so that changes by other handlers and by
//! operators are counted, too. At most once a minute, for at most a twentieth of the time, and not while
//! nothing scrapes.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use ecom_domain::heartbeat::Heartbeat;
use ecom_store::{DeadLetterStore, OperationsStore, Scan, StoreError};
use ecom_telemetry::metrics::{DeadLetterCounts, DeadLetterGauges};

/// The time between the starts of two reads.
const INTERVAL: Duration = Duration::from_secs(60);
/// The pause after a count, in multiples of the time it took.
const REST: u32 = 19;

/// Keeps the gauges current until stopped. A read that fails is repeated at the next interval.
pub async fn run(
    dead_letter_store: &dyn DeadLetterStore,
    operations: &dyn OperationsStore,
    gauges: &DeadLetterGauges,
    stop: CancellationToken,
) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = read(gauges, async || count(dead_letter_store).await, async || operations.heartbeats().await) => {}
    }
}

/// Counts all dead letters, read without their bodies.
pub async fn count(dead_letter_store: &dyn DeadLetterStore) -> Result<DeadLetterCounts, StoreError> {
    let mut counts = DeadLetterCounts::default();
    let mut dead_letters = dead_letter_store.dead_letters(Scan::BRIEF);
    while let Some(record) = dead_letters.next().await {
        counts.count(&record?);
    }
    Ok(counts)
}

async fn read(
    gauges: &DeadLetterGauges,
    dead_letters: impl AsyncFn() -> Result<DeadLetterCounts, StoreError>,
    heartbeats: impl AsyncFn() -> Result<Vec<Heartbeat>, StoreError>,
) {
    let mut next_count = Instant::now();
    loop {
        let began = Instant::now();
        if gauges.take_scraped() {
            match heartbeats().await {
                Ok(heartbeats) => gauges.show_heartbeats(&heartbeats),
                Err(error) => tracing::warn!("{error}; the metrics keep the heartbeats last read"),
            }
            if began >= next_count {
                let counting = Instant::now();
                match dead_letters().await {
                    Ok(counts) => gauges.show(counts),
                    Err(error) => tracing::warn!("{error}; the metrics keep the dead letters last counted"),
                }
                next_count = Instant::now() + counting.elapsed() * REST;
            }
        }
        tokio::time::sleep_until(began + INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::sync::Arc;

    use super::*;
    use ecom_telemetry::metrics::registry;

    /// The metrics, as a scrape reads them.
    fn scrape(gauges: &Arc<DeadLetterGauges>) -> String {
        let mut text = String::new();
        let registry = registry(Vec::new(), Some(Arc::clone(gauges)));
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    /// Runs for `length` with counts that take `takes`, scraped every `scraped`. Returns when the counts
    /// began, in seconds, and the number of reads of the heartbeats.
    async fn begun(length: u64, takes: u64, scraped: Option<u64>) -> (Vec<u64>, usize) {
        let gauges = Arc::new(DeadLetterGauges::new(|| 0));
        let started = Instant::now();
        let (counts, heartbeats) = (RefCell::new(Vec::new()), Cell::new(0));
        let dead_letters = async || {
            counts.borrow_mut().push(started.elapsed().as_secs());
            tokio::time::sleep(Duration::from_secs(takes)).await;
            Ok(DeadLetterCounts::default())
        };
        let seen = async || {
            heartbeats.set(heartbeats.get() + 1);
            Ok(Vec::new())
        };
        let scraping = async {
            loop {
                match scraped {
                    Some(every) => tokio::time::sleep(Duration::from_secs(every)).await,
                    None => std::future::pending().await,
                }
                scrape(&gauges);
            }
        };
        let both = async { tokio::join!(read(&gauges, dead_letters, seen), scraping) };
        let _ended = tokio::time::timeout(Duration::from_secs(length), both).await;
        (counts.into_inner(), heartbeats.get())
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_dead_letter_store_is_read_once_a_minute() {
        let (counts, heartbeats) = begun(181, 1, Some(15)).await;
        assert_eq!(counts, [0, 60, 120, 180]);
        assert_eq!(heartbeats, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn counting_a_large_dead_letter_store_takes_a_twentieth_of_the_time_and_heartbeats_stay_current() {
        let (counts, heartbeats) = begun(1_250, 30, Some(15)).await;
        assert_eq!(counts, [0, 600, 1_200]);
        assert_eq!(heartbeats, 21);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_while_nothing_scrapes() {
        let (counts, heartbeats) = begun(3_600, 1, None).await;
        assert_eq!((counts, heartbeats), (vec![0], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_counts_are_shown_through_an_outage_while_ages_grow() {
        let gauges = Arc::new(DeadLetterGauges::new(|| 70_000_000));
        let down = Cell::new(false);
        let outage = || StoreError::Unavailable { what: "read", on: "a test".into(), source: "down".into() };
        let dead_letters = async || if down.get() { Err(outage()) } else { Ok(DeadLetterCounts::default()) };
        let seen = async || {
            let role = |role: &str, host: &str, seen_at| Heartbeat {
                role: role.into(),
                host: host.into(),
                version: "0".into(),
                seen_at,
                newest_event_at: None,
            };
            if down.get() {
                return Err(outage());
            }
            Ok(vec![role("order_consumer", "a", 10_000_000), role("order_consumer", "b", 60_000_000)])
        };
        assert!(!scrape(&gauges).contains("ecom_dead_letters{"), "nothing was read yet");
        let looking = async {
            for is_down in [false, true, true] {
                down.set(is_down);
                tokio::time::sleep(Duration::from_secs(60)).await;
                let text = scrape(&gauges);
                assert!(
                    text.contains("ecom_heartbeat_age_seconds{role=\"order_consumer\"} 10.0\n"),
                    "{text}"
                );
                let waiting = "ecom_dead_letters{state=\"waiting\",reason=\"order_not_found\"} 0\n";
                assert!(text.contains(waiting), "{text}");
            }
        };
        tokio::select! {
            biased;
            () = read(&gauges, dead_letters, seen) => {}
            () = looking => {}
        }
    }
}
