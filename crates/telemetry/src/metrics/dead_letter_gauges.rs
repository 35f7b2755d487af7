//! Gauges of the dead-letter store and of the heartbeats beside it, as a handler last read them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use ecom_domain::dead_letter::{DeadLetterRecord, DeadLetterState};
use ecom_domain::heartbeat::Heartbeat;
use ecom_domain::reason::Reason;

/// The number of dead letters by state and reason, and the age of the oldest that waits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DeadLetterCounts {
    dead_letters: [[u64; Reason::ALL.len()]; DeadLetterState::ALL.len()],
    oldest_waiting: Option<i64>,
}

impl DeadLetterCounts {
    /// Counts a dead letter.
    pub fn count(&mut self, record: &DeadLetterRecord) {
        let state = record.state();
        self.dead_letters[state as usize][record.dead_letter.reason as usize] += 1;
        if state == DeadLetterState::Waiting {
            let failed = record.dead_letter.first_failed_at;
            self.oldest_waiting = Some(self.oldest_waiting.map_or(failed, |oldest| oldest.min(failed)));
        }
    }

    /// Dead letters in this state for this reason.
    pub fn dead_letters(&self, state: DeadLetterState, reason: Reason) -> u64 {
        self.dead_letters[state as usize][reason as usize]
    }
}

/// Now, microseconds since the epoch.
type Now = Box<dyn Fn() -> i64 + Send + Sync>;

/// The gauges: the counts last read, with ages as of the scrape. While the store cannot be read, ages keep
/// growing, so nothing looks younger than it is.
pub struct DeadLetterGauges {
    shown: Mutex<Shown>,
    was_scraped: AtomicBool,
    now: Now,
}

#[derive(Default, Debug)]
struct Shown {
    counts: Option<DeadLetterCounts>,
    /// The time of the last heartbeat by role; a role of another version may have a name unknown here.
    last_heartbeats: BTreeMap<String, i64>,
}

impl DeadLetterGauges {
    /// Gauges without values; `now` is microseconds since the epoch.
    pub fn new(now: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self { shown: Mutex::default(), was_scraped: AtomicBool::new(true), now: Box::new(now) }
    }

    /// Shows these counts from now on.
    pub fn show(&self, counts: DeadLetterCounts) {
        self.shown().counts = Some(counts);
    }

    /// Shows these heartbeats from now on; of several processes of a role, the latest counts.
    pub fn show_heartbeats(&self, heartbeats: &[Heartbeat]) {
        let mut last_heartbeats = BTreeMap::new();
        for heartbeat in heartbeats {
            let at = last_heartbeats.entry(heartbeat.role.clone()).or_insert(heartbeat.seen_at);
            *at = heartbeat.seen_at.max(*at);
        }
        self.shown().last_heartbeats = last_heartbeats;
    }

    /// Returns true when the gauges were scraped since the last call, and at the first call.
    pub fn take_scraped(&self) -> bool {
        self.was_scraped.swap(false, Ordering::Relaxed)
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for DeadLetterGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterGauges").field("shown", &self.shown).finish_non_exhaustive()
    }
}

impl Collector for DeadLetterGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.was_scraped.store(true, Ordering::Relaxed);
        let now = (self.now)();
        let age = |since: i64| now.saturating_sub(since).max(0) as f64 / 1e6;
        let shown = self.shown();
        if let Some(counts) = &shown.counts {
            let mut dead_letters = super::DEAD_LETTERS.begin(&mut encoder)?;
            for state in DeadLetterState::ALL {
                for reason in Reason::ALL {
                    let labels = [("state", state.as_str()), ("reason", reason.as_str())];
                    dead_letters.encode_family(&labels)?.encode_gauge(&counts.dead_letters(state, reason))?;
                }
            }
            let oldest = counts.oldest_waiting.map_or(0.0, age);
            super::OLDEST_WAITING.begin(&mut encoder)?.encode_gauge(&oldest)?;
        }
        let mut heartbeats = super::HEARTBEAT_AGE.begin(&mut encoder)?;
        for (role, at) in &shown.last_heartbeats {
            heartbeats.encode_family(&[("role", role.as_str())])?.encode_gauge(&age(*at))?;
        }
        Ok(())
    }
}
