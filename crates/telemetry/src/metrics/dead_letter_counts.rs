//! What the dead-letter store holds and who was last seen, as a handler last read them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use ecom_domain::dead_letter::{DeadLetterRecord, DeadLetterState};
use ecom_domain::heartbeat::Heartbeat;
use ecom_domain::reason::Reason;

/// Dead letters by state and reason, and the oldest that waits.
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

/// The gauges over the dead-letter store: what was last read, with ages as of the scrape. Where nothing can be
/// read the ages grow on, so that nothing looks younger than it is.
pub struct DeadLetterGauges {
    shown: Mutex<DeadLetterDetails>,
    wanted: AtomicBool,
    now: Now,
}

#[derive(Default, Debug)]
struct DeadLetterDetails {
    dead_letter_counts: Option<DeadLetterCounts>,
    /// When a role was last seen, by its name.
    seen: BTreeMap<String, i64>,
}

impl DeadLetterGauges {
    /// Shows nothing before the first count.
    pub fn new(now: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self { shown: Mutex::default(), wanted: AtomicBool::new(true), now: Box::new(now) }
    }

    /// Shows this count from now on.
    pub fn show(&self, dead_letter_counts: DeadLetterCounts) {
        self.shown().dead_letter_counts = Some(dead_letter_counts);
    }

    /// Shows these signs of life from now on; of several processes of a role the last one counts.
    pub fn show_heartbeats(&self, heartbeats: &[Heartbeat]) {
        let mut seen = BTreeMap::new();
        for heartbeat in heartbeats {
            let at = seen.entry(heartbeat.role.clone()).or_insert(heartbeat.seen_at);
            *at = heartbeat.seen_at.max(*at);
        }
        self.shown().seen = seen;
    }

    /// Whether anybody has looked since this was last asked; true at first.
    pub fn take_wanted(&self) -> bool {
        self.wanted.swap(false, Ordering::Relaxed)
    }

    fn shown(&self) -> MutexGuard<'_, DeadLetterDetails> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for DeadLetterGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LedgerGauges").field("shown", &self.shown).finish_non_exhaustive()
    }
}

impl Collector for DeadLetterGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.wanted.store(true, Ordering::Relaxed);
        let now = (self.now)();
        let age = |since: i64| now.saturating_sub(since).max(0) as f64 / 1e6;
        let shown = self.shown();
        if let Some(dead_letter_counts) = &shown.dead_letter_counts {
            let mut dead_letters = super::DEAD_LETTERS.begin(&mut encoder)?;
            for state in DeadLetterState::ALL {
                for reason in Reason::ALL {
                    let labels = [("state", state.as_str()), ("reason", reason.as_str())];
                    dead_letters
                        .encode_family(&labels)?
                        .encode_gauge(&dead_letter_counts.dead_letters(state, reason))?;
                }
            }
            let oldest = dead_letter_counts.oldest_waiting.map_or(0.0, age);
            super::OLDEST_WAITING.begin(&mut encoder)?.encode_gauge(&oldest)?;
        }
        let mut heartbeats = super::HEARTBEAT_AGE.begin(&mut encoder)?;
        for (role, seen) in &shown.seen {
            heartbeats.encode_family(&[("role", role.as_str())])?.encode_gauge(&age(*seen))?;
        }
        Ok(())
    }
}
