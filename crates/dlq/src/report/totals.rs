//! Totals of one pass over the dead-letter store.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{DailyCount, DeadLetterCount, HourlyArrivals};
use ecom_domain::dead_letter::{DeadLetterRecord, DeadLetterState};
use ecom_domain::reason::Reason;

/// Hours whose arrivals are counted, the current one included.
const HOURS: usize = 24;
const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
/// Significant bits of a time to recovery: the median is exact to 1 in 2,048, and the number of distinct
/// times stays bounded however many dead letters there are.
const PRECISION: u32 = 12;

pub(super) struct Totals {
    pub(super) groups: BTreeMap<(DeadLetterState, Reason), DeadLetterCount>,
    /// All and open dead letters, by the day of their first failure.
    days: BTreeMap<(i64, Reason), (u64, u64)>,
    arrivals: [u64; HOURS],
    this_hour: i64,
    /// Dead letters by their time to recovery, in milliseconds, rounded up.
    recoveries: BTreeMap<u64, u64>,
    pub(super) reopened: u64,
    pub(super) failed_corrections: u64,
}

impl Totals {
    pub(super) fn new(now: i64) -> Self {
        Self {
            groups: BTreeMap::new(),
            days: BTreeMap::new(),
            arrivals: [0; HOURS],
            this_hour: now.div_euclid(HOUR),
            recoveries: BTreeMap::new(),
            reopened: 0,
            failed_corrections: 0,
        }
    }

    pub(super) fn add(&mut self, record: &DeadLetterRecord) {
        let failed_at = record.dead_letter.first_failed_at;
        let state = record.state();
        self.groups.entry((state, record.dead_letter.reason)).or_default().add(failed_at);
        let (all, open) =
            self.days.entry((failed_at.div_euclid(DAY), record.dead_letter.reason)).or_default();
        *all += 1;
        *open += u64::from(state.is_open());
        let hours_ago = usize::try_from(self.this_hour.saturating_sub(failed_at.div_euclid(HOUR)).max(0));
        if let Some(hour) = hours_ago.ok().and_then(|ago| self.arrivals.get_mut(ago)) {
            *hour += 1;
        }
        self.reopened += u64::from(record.progress.generation > 0);
        self.failed_corrections += u64::from(record.dead_letter.corrects.is_some());
        if let (DeadLetterState::Recovered, Some(at)) = (state, record.progress.state_at) {
            let took = at.saturating_sub(failed_at).max(0) / 1_000;
            *self.recoveries.entry(rounded_up(u64::try_from(took).unwrap_or_default())).or_default() += 1;
        }
    }

    /// Dead letters by day and reason, oldest day first.
    pub(super) fn days(&self) -> Vec<DailyCount> {
        let count = |(&(day, reason), &(dead_letters, open)): (&(i64, Reason), &(u64, u64))| DailyCount {
            at: day * DAY,
            reason,
            dead_letters,
            open,
        };
        self.days.iter().map(count).collect()
    }

    /// Arrivals by hour, oldest first.
    pub(super) fn hours(&self) -> Vec<HourlyArrivals> {
        let hour = |(ago, dead_letters): (i64, &u64)| HourlyArrivals {
            at: (self.this_hour - ago) * HOUR,
            dead_letters: *dead_letters,
        };
        let mut hours: Vec<HourlyArrivals> = (0..).zip(&self.arrivals).map(hour).collect();
        hours.reverse();
        hours
    }

    /// The median time from first failure to recovery.
    pub(super) fn median_recovery(&self) -> Option<Duration> {
        let half = self.recoveries.values().sum::<u64>().div_ceil(2);
        let mut seen = 0;
        let reached = self.recoveries.iter().find(|(_, count)| {
            seen += **count;
            seen >= half
        });
        reached.map(|(millis, _)| Duration::from_millis(*millis))
    }
}

/// Rounds a number up to [`PRECISION`] significant bits.
fn rounded_up(number: u64) -> u64 {
    let dropped = (u64::BITS - number.leading_zeros()).saturating_sub(PRECISION);
    let unit = 1u64 << dropped;
    number.div_ceil(unit).saturating_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_that_of_the_lower_half_and_nearly_exact() {
        let mut totals = Totals::new(0);
        assert_eq!(totals.median_recovery(), None);
        for (millis, count) in [(5, 2), (700, 2), (3_598_000, 3), (u64::MAX, 1)] {
            totals.recoveries.insert(rounded_up(millis), count);
        }
        assert_eq!(totals.median_recovery(), Some(Duration::from_millis(700)));
        totals.recoveries.insert(rounded_up(3_598_000), 7);
        let median = totals.median_recovery().map_or(0, |took| took.as_millis());
        assert!((3_598_000..3_598_000 + 1_758).contains(&median), "{median}");
    }
}
