//! The dead-letter store in numbers, for people and for cron: one pass, nothing kept of single dead letters.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::TryStreamExt;
use hdrhistogram::Histogram;

use super::DeadLetterQueue;
use super::diagnosis::{Diagnosis, RoleStatuses, Waiting, causes};
use super::next::{Command, Step};
use super::selection::{Detail, Selection};
use ecom_domain::dead_letter::{DeadLetterRecord, DeadLetterState};
use ecom_domain::reason::{Class, Reason};
use ecom_store::StoreError;

/// Hours whose arrivals are counted, the present one included.
pub const HOURS: usize = 24;
const HOUR: i64 = 3_600_000_000;
/// The longest time to recovery that is told apart: ten years, in milliseconds.
const LONGEST_MS: u64 = 10 * 366 * 24 * 3_600 * 1_000;

/// Dead letters of one state and reason.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DeadLetterCount {
    /// How many.
    pub dead_letters: u64,
    /// When the oldest first failed, microseconds since the epoch.
    pub oldest_at: Option<i64>,
}

impl DeadLetterCount {
    fn add(&mut self, failed_at: i64) {
        self.dead_letters += 1;
        self.oldest_at = Some(self.oldest_at.map_or(failed_at, |oldest| oldest.min(failed_at)));
    }

    fn merged(self, other: Self) -> Self {
        let oldest_at = match (self.oldest_at, other.oldest_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self { dead_letters: self.dead_letters + other.dead_letters, oldest_at }
    }
}

/// Dead letters that first failed in one hour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hour {
    /// When the hour began, microseconds since the epoch.
    pub at: i64,
    /// How many.
    pub dead_letters: u64,
}

/// The dead-letter store in numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The store, with host or path.
    pub store: String,
    /// When this was read, microseconds since the epoch.
    pub at: i64,
    /// Only dead letters that first failed since then.
    pub since: Option<i64>,
    /// Dead letters by state and reason.
    pub groups: BTreeMap<(DeadLetterState, Reason), DeadLetterCount>,
    /// Dead letters by the hour they first failed in, the last [`HOURS`], oldest first.
    pub arrivals: Vec<Hour>,
    /// From first failure to recovery, of half of the recovered dead letters.
    pub median_recovery: Option<Duration>,
    /// Dead letters somebody opened again.
    pub reopened: u64,
    /// Corrected bodies that failed as well.
    pub failed_corrections: u64,
    /// The roles' signs of life.
    pub roles: RoleStatuses,
    /// Roles that are missed.
    pub causes: Vec<Diagnosis>,
    /// What to run next.
    pub next: Vec<Step>,
}

impl Report {
    /// All dead letters.
    pub fn dead_letters(&self) -> u64 {
        self.total(|_, _| true).dead_letters
    }

    /// Dead letters somebody or something still has to act on.
    pub fn open(&self) -> DeadLetterCount {
        self.total(|state, _| state.is_open())
    }

    /// Dead letters of one state.
    pub fn in_state(&self, state: DeadLetterState) -> DeadLetterCount {
        self.total(|other, _| other == state)
    }

    /// Dead letters of one reason.
    pub fn of_reason(&self, reason: Reason) -> DeadLetterCount {
        self.total(|_, other| other == reason)
    }

    /// Dead letters whose reason is of one class.
    pub fn of_class(&self, class: Class) -> DeadLetterCount {
        self.total(|_, reason| reason.class() == class)
    }

    /// Open dead letters whose reason is of one class.
    pub fn open_of_class(&self, class: Class) -> DeadLetterCount {
        self.total(|state, reason| state.is_open() && reason.class() == class)
    }

    /// The recovered share of all dead letters, 0 to 1; `None` where there are none.
    pub fn recovered_share(&self) -> Option<f64> {
        let all = self.dead_letters();
        (all > 0).then(|| self.in_state(DeadLetterState::Recovered).dead_letters as f64 / all as f64)
    }

    fn total(&self, wanted: impl Fn(DeadLetterState, Reason) -> bool) -> DeadLetterCount {
        let groups = self.groups.iter().filter(|((state, reason), _)| wanted(*state, *reason));
        groups.fold(DeadLetterCount::default(), |sum, (_, counts)| sum.merged(*counts))
    }
}

/// What a pass over the dead-letter store adds up.
struct Sums {
    groups: BTreeMap<(DeadLetterState, Reason), DeadLetterCount>,
    arrivals: [u64; HOURS],
    this_hour: i64,
    recoveries: Histogram<u64>,
    reopened: u64,
    failed_corrections: u64,
}

impl Sums {
    fn new(now: i64) -> Self {
        Self {
            groups: BTreeMap::new(),
            arrivals: [0; HOURS],
            this_hour: now.div_euclid(HOUR),
            recoveries: Histogram::new_with_bounds(1, LONGEST_MS, 3)
                .expect("the bounds are constant and sound"),
            reopened: 0,
            failed_corrections: 0,
        }
    }

    fn add(&mut self, record: &DeadLetterRecord) {
        let failed_at = record.dead_letter.first_failed_at;
        let state = record.state();
        self.groups.entry((state, record.dead_letter.reason)).or_default().add(failed_at);
        let hours_ago = usize::try_from(self.this_hour.saturating_sub(failed_at.div_euclid(HOUR)).max(0));
        if let Some(hour) = hours_ago.ok().and_then(|ago| self.arrivals.get_mut(ago)) {
            *hour += 1;
        }
        self.reopened += u64::from(record.progress.generation > 0);
        self.failed_corrections += u64::from(record.dead_letter.corrects.is_some());
        if let (DeadLetterState::Recovered, Some(at)) = (state, record.progress.state_at) {
            let took = at.saturating_sub(failed_at).max(0) / 1_000;
            self.recoveries.saturating_record(u64::try_from(took).unwrap_or_default());
        }
    }

    /// The hours, oldest first.
    fn hours(&self) -> Vec<Hour> {
        let hour = |(ago, dead_letters): (i64, &u64)| Hour {
            at: (self.this_hour - ago) * HOUR,
            dead_letters: *dead_letters,
        };
        let mut hours: Vec<Hour> = (0..).zip(&self.arrivals).map(hour).collect();
        hours.reverse();
        hours
    }

    fn median(&self) -> Option<Duration> {
        (!self.recoveries.is_empty()).then(|| Duration::from_millis(self.recoveries.value_at_quantile(0.5)))
    }
}

impl DeadLetterQueue {
    /// Adds up the dead-letter store; calls `seen` with the number of dead letters read so far.
    pub async fn report(
        &self,
        since: Option<i64>,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Report, StoreError> {
        let at = self.clock.now_us();
        let roles = RoleStatuses::of(&self.operations.heartbeats().await?, at);
        let mut sums = Sums::new(at);
        let selection = Selection { since, ..Selection::default() };
        let mut dead_letters = self.select(&selection, Detail::Brief);
        let mut count = 0;
        while let Some(selected) = dead_letters.try_next().await? {
            sums.add(&selected.record);
            count += 1;
            seen(count);
        }
        let causes = causes(&roles, &Waiting::default());
        let mut report = Report {
            store: self.facts.describe(),
            at,
            since,
            arrivals: sums.hours(),
            median_recovery: sums.median(),
            reopened: sums.reopened,
            failed_corrections: sums.failed_corrections,
            groups: sums.groups,
            roles,
            causes,
            next: Vec::new(),
        };
        report.next = next(&report);
        Ok(report)
    }
}

/// First the roles that are missed, then the open dead letters.
fn next(report: &Report) -> Vec<Step> {
    let look = Step::new(Command::triage(), "why dead letters are open, and what retrying each would do");
    let roles = report.causes.iter().filter_map(Diagnosis::step);
    roles.chain((report.open().dead_letters > 0).then_some(look)).collect()
}
