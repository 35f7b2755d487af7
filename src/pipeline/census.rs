//! Reading the ledger for the gauges. All of it, so that what other handlers and desks did is seen,
//! too: at most once a minute, never more than a twentieth of the time, and not at all while nobody
//! looks at the gauges.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::{Census, LedgerGauges};
use crate::store::{Journal, Ledger, Scan, StoreError};

/// Between the beginnings of two reads.
const EVERY: Duration = Duration::from_secs(60);
/// A count is followed by so many times its length without one.
const REST: u32 = 19;

/// Keeps the gauges current until stopped. What cannot be read is read the next time.
pub async fn run(ledger: &dyn Ledger, journal: &dyn Journal, gauges: &LedgerGauges, stop: CancellationToken) {
    let reading = async {
        let mut next_count = Instant::now();
        loop {
            let began = Instant::now();
            if gauges.take_wanted() {
                match journal.heartbeats().await {
                    Ok(heartbeats) => gauges.show_heartbeats(&heartbeats),
                    Err(error) => tracing::warn!("could not read the heartbeats for the metrics: {error}"),
                }
                if began >= next_count {
                    let counting = Instant::now();
                    match census(ledger).await {
                        Ok(census) => gauges.show(census),
                        Err(error) => tracing::warn!("could not count the letters for the metrics: {error}"),
                    }
                    next_count = Instant::now() + counting.elapsed() * REST;
                }
            }
            tokio::time::sleep_until(began + EVERY).await;
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = reading => {}
    }
}

/// Counts all letters, read without their bodies.
pub async fn census(ledger: &dyn Ledger) -> Result<Census, StoreError> {
    let mut census = Census::default();
    let mut letters = ledger.letters(Scan::BRIEF);
    while let Some(record) = letters.next().await {
        census.count(&record?);
    }
    Ok(census)
}
