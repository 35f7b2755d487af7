//! As many streams as it takes: one at first, and more while the workers wait for messages although
//! the streams there are hand out many.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::streams::Site;

/// Between two looks at the channel to the workers: the emulator fills a stream's responses every 50 ms.
const LOOK: Duration = Duration::from_millis(25);
/// Looks between two decisions.
const LOOKS: u32 = 8;
/// A stream that hands out fewer messages a second has nothing more to give: another would not either.
const BUSY: u64 = 500;

/// Keeps the streams open until they are stopped; never closes one before that.
pub(super) async fn grow(site: Site, most: usize) {
    let mut streams = JoinSet::new();
    site.start(0, &mut streams);
    let mut open = 1;
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut looked, mut starved) = (0, 0);
    let (mut since, mut before) = (Instant::now(), site.delivered.load(Ordering::Relaxed));
    while open < most {
        tokio::select! {
            biased;
            () = site.stop.cancelled() => break,
            _ = looks.tick() => {}
        }
        looked += 1;
        starved += u32::from(site.intake.capacity() == site.intake.max_capacity());
        if looked < LOOKS {
            continue;
        }
        let delivered = site.delivered.load(Ordering::Relaxed);
        let next = wanted(open, most, starved, delivered - before, since.elapsed());
        for slot in open..next {
            site.start(slot, &mut streams);
        }
        if next > open {
            tracing::debug!(subscription = %site.subscription, streams = next, "opened more streams");
        }
        (open, looked, starved) = (next, 0, 0);
        (since, before) = (Instant::now(), delivered);
    }
    drop(site);
    while let Some(ended) = streams.join_next().await {
        if ended.is_err() {
            tracing::error!("a stream's supervisor panicked");
        }
    }
}

/// How many streams there should be: twice as many when the workers had nothing in at least half of the
/// looks, and every stream was busy.
fn wanted(open: usize, most: usize, starved: u32, delivered: u64, took: Duration) -> usize {
    let busy = BUSY * open as u64;
    let rate = delivered as f64 / took.as_secs_f64().max(0.001);
    if starved * 2 >= LOOKS && rate >= busy as f64 { (open * 2).min(most) } else { open }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_millis(200);

    #[test]
    fn streams_that_are_busy_while_the_lanes_starve_are_doubled_up_to_the_most() {
        assert_eq!(wanted(1, 32, LOOKS, 400, LONG), 2);
        assert_eq!(wanted(16, 32, LOOKS / 2, 6_400, LONG), 32);
        assert_eq!(wanted(32, 32, LOOKS, 9_000, LONG), 32);
    }

    #[test]
    fn lanes_that_are_the_limit_need_no_streams_and_neither_does_a_trickle() {
        assert_eq!(wanted(4, 32, LOOKS / 2 - 1, 9_000, LONG), 4);
        assert_eq!(wanted(1, 32, LOOKS, 99, LONG), 1);
        assert_eq!(wanted(4, 32, LOOKS, 399, LONG), 4);
    }
}
