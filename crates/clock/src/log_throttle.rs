//! A limit on repeated log lines.

use std::time::Duration;

use tokio::time::Instant;

/// Admits one log line per interval and counts the suppressed ones.
#[derive(Debug)]
pub struct LogThrottle {
    interval: Duration,
    last: Option<Instant>,
    suppressed: u64,
}

impl LogThrottle {
    /// Returns a throttle that admits its first line at once.
    pub fn every(interval: Duration) -> Self {
        Self { interval, last: None, suppressed: 0 }
    }

    /// Returns the number of lines suppressed before this one, or `None` if this one is suppressed.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < self.interval) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}
