//! The automatic number of streams: one at first, and twice as many whenever the workers wait for messages
//! although every stream is busy.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::stream_set::StreamSet;

/// The interval of samples of the channel to the workers. The emulator sends responses every 50 ms.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(25);
/// The number of samples per decision.
const SAMPLES: u32 = 8;
/// The rate of a busy stream, in messages per second. If streams are slower, the topic is, and more of them
/// would not help.
const BUSY_RATE: u64 = 500;

/// Runs the streams of the set until they are stopped. Opens up to `max_streams`, and never closes one
/// before.
pub(super) async fn run(set: StreamSet, max_streams: usize) {
    let mut streams = JoinSet::new();
    set.start(0, &mut streams);
    let mut open = 1;
    let mut ticks = interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut samples, mut starved) = (0, 0);
    let (mut since, mut delivered_before) = (Instant::now(), set.delivered.load(Ordering::Relaxed));
    while open < max_streams {
        tokio::select! {
            biased;
            () = set.stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        samples += 1;
        starved += u32::from(set.intake.is_empty());
        if samples < SAMPLES {
            continue;
        }
        let delivered = set.delivered.load(Ordering::Relaxed);
        let next = target(open, max_streams, starved, delivered - delivered_before, since.elapsed());
        for index in open..next {
            set.start(index, &mut streams);
        }
        if next > open {
            tracing::debug!(subscription = %set.subscription, streams = next, "opened more streams");
        }
        (open, samples, starved) = (next, 0, 0);
        (since, delivered_before) = (Instant::now(), delivered);
    }
    drop(set);
    while let Some(ended) = streams.join_next().await {
        if ended.is_err() {
            tracing::error!("a stream's supervisor panicked");
        }
    }
}

/// Returns the number of streams to have: twice as many, up to `max_streams`, if the channel was empty in at
/// least half of the samples and the streams were busy on average.
fn target(open: usize, max_streams: usize, starved: u32, delivered: u64, took: Duration) -> usize {
    let busy = BUSY_RATE * open as u64;
    let rate = delivered as f64 / took.as_secs_f64().max(0.001);
    if starved * 2 >= SAMPLES && rate >= busy as f64 { (open * 2).min(max_streams) } else { open }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(200);

    #[test]
    fn busy_streams_are_doubled_up_to_the_maximum_while_the_workers_wait() {
        assert_eq!(target(1, 32, SAMPLES, 400, WINDOW), 2);
        assert_eq!(target(16, 32, SAMPLES / 2, 6_400, WINDOW), 32);
        assert_eq!(target(32, 32, SAMPLES, 9_000, WINDOW), 32);
    }

    #[test]
    fn streams_are_not_added_if_the_workers_are_the_limit_or_the_topic_is_slow() {
        assert_eq!(target(4, 32, SAMPLES / 2 - 1, 9_000, WINDOW), 4);
        assert_eq!(target(1, 32, SAMPLES, 99, WINDOW), 1);
        assert_eq!(target(4, 32, SAMPLES, 399, WINDOW), 4);
    }
}
