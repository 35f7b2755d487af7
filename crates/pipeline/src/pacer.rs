//! Pacing: admits work at a rate.

use std::time::Duration;

use tokio::time::Instant;

/// The most time that may be caught up after falling behind the rate, so that a stall is not followed by a flood.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Admits work at a rate, measured from the first admission on.
#[derive(Debug)]
pub struct Pacer {
    interval: Option<Duration>,
    due: Instant,
}

impl Pacer {
    /// A pacer with this many admissions per second, more than 0; `None` = unlimited.
    pub fn new(per_second: Option<f64>) -> Self {
        let interval = per_second.map(|rate| Duration::from_secs_f64(1.0 / rate));
        Self { interval, due: Instant::now() }
    }

    /// Returns the time of the next admission, or `None` if it is due.
    pub fn wait(&self) -> Option<Instant> {
        self.interval.and(Some(self.due)).filter(|due| *due > Instant::now())
    }

    /// Counts an admission.
    pub fn admit(&mut self) {
        let Some(interval) = self.interval else { return };
        let oldest = Instant::now().checked_sub(CATCH_UP).unwrap_or(self.due);
        self.due = (self.due + interval).max(oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Admits whatever is due for this long; returns the number of admissions.
    async fn admitted(pacer: &mut Pacer, length: Duration) -> u32 {
        let (until, mut count) = (Instant::now() + length, 0);
        loop {
            match pacer.wait() {
                Some(due) if due >= until => break,
                Some(due) => tokio::time::sleep_until(due).await,
                None => {
                    pacer.admit();
                    count += 1;
                }
            }
        }
        tokio::time::sleep_until(until).await;
        count
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_admitted_at_the_rate() {
        let mut pacer = Pacer::new(Some(100.0));
        assert_eq!(admitted(&mut pacer, Duration::from_secs(10)).await, 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_caught_up_by_at_most_a_second() {
        let mut pacer = Pacer::new(Some(100.0));
        pacer.admit();
        tokio::time::sleep(Duration::from_secs(60)).await;
        let caught_up = admitted(&mut pacer, Duration::from_secs(1)).await;
        assert!((200..=202).contains(&caught_up), "{caught_up}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_work_is_always_due() {
        let mut pacer = Pacer::new(None);
        for _ in 0..1_000 {
            assert_eq!(pacer.wait(), None);
            pacer.admit();
        }
    }
}
