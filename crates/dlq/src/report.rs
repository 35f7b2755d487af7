//! The dead-letter store in numbers, from one pass that keeps no single dead letter.

mod totals;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::TryStreamExt;
use serde::{Serialize, Serializer};

use super::DeadLetterQueue;
use super::next_action::{NextAction, NextReason, NextStep};
use super::outcome_counts::OutcomeCounts;
use super::role_status::{RoleProblem, RoleStatuses, WaitingDeadLetters, role_problems};
use super::selection::{Detail, Selection};
use super::times::{self, age_seconds};
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::bulk_operation::OperationKind;
use ecom_domain::dead_letter::DeadLetterState;
use ecom_domain::reason::{Class, Reason};
use ecom_store::StoreError;
use totals::Totals;

/// A number of dead letters and the age of the oldest.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DeadLetterCount {
    /// Their number.
    pub dead_letters: u64,
    /// The time of the first failure of the oldest, microseconds since the epoch.
    pub oldest_at: Option<i64>,
}

impl DeadLetterCount {
    fn add(&mut self, failed_at: i64) {
        self.dead_letters += 1;
        self.oldest_at = self.oldest_at.into_iter().chain([failed_at]).min();
    }

    fn merged(self, other: Self) -> Self {
        let oldest_at = self.oldest_at.into_iter().chain(other.oldest_at).min();
        Self { dead_letters: self.dead_letters + other.dead_letters, oldest_at }
    }
}

/// Dead letters that first failed in one hour.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
pub struct HourlyArrivals {
    /// The beginning of the hour, microseconds since the epoch.
    #[serde(rename = "hour", serialize_with = "times::serialize")]
    pub at: i64,
    /// Their number.
    pub dead_letters: u64,
}

/// Dead letters of one reason that first failed on one day.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
pub struct DailyCount {
    /// The beginning of the day in UTC, microseconds since the epoch.
    #[serde(rename = "day", serialize_with = "times::day")]
    pub at: i64,
    /// The reason.
    pub reason: Reason,
    /// Their number.
    pub dead_letters: u64,
    /// The number of them that are open.
    pub open: u64,
}

/// The dead-letter store in numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The store, with host or path.
    pub store: String,
    /// The time of the read, microseconds since the epoch.
    pub at: i64,
    /// Only dead letters that first failed at or after this time, microseconds since the epoch.
    pub since: Option<i64>,
    /// Dead letters by state and reason.
    pub groups: BTreeMap<(DeadLetterState, Reason), DeadLetterCount>,
    /// Dead letters by the day of their first failure and by reason, oldest day first.
    pub days: Vec<DailyCount>,
    /// Dead letters by the hour of their first failure, for the last 24 hours, oldest first.
    pub arrivals: Vec<HourlyArrivals>,
    /// The median time from first failure to recovery; `None` if none recovered.
    pub median_recovery: Option<Duration>,
    /// Discarded dead letters that a correction replaced, by the operations since then.
    pub corrected: u64,
    /// Dead letters that were reopened.
    pub reopened: u64,
    /// Dead letters that are failed corrections of others.
    pub failed_corrections: u64,
    /// The status of each role.
    pub roles: RoleStatuses,
    /// The problems that keep dead letters open.
    pub causes: Vec<RoleProblem>,
    /// The next steps.
    pub next: Vec<NextStep>,
}

impl Report {
    /// The number of all dead letters.
    pub fn dead_letters(&self) -> u64 {
        self.total(|_, _| true).dead_letters
    }

    /// Open dead letters.
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

    /// The share of recovered dead letters, 0 to 1; `None` if there are no dead letters.
    pub fn recovered_share(&self) -> Option<f64> {
        let all = self.dead_letters();
        (all > 0).then(|| self.in_state(DeadLetterState::Recovered).dead_letters as f64 / all as f64)
    }

    fn total(&self, wanted: impl Fn(DeadLetterState, Reason) -> bool) -> DeadLetterCount {
        let groups = self.groups.iter().filter(|((state, reason), _)| wanted(*state, *reason));
        groups.fold(DeadLetterCount::default(), |sum, (_, counts)| sum.merged(*counts))
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct View<'r> {
            store: &'r str,
            #[serde(serialize_with = "times::serialize")]
            at: i64,
            #[serde(serialize_with = "times::optional::serialize")]
            since: Option<i64>,
            total: u64,
            open: u64,
            #[serde(serialize_with = "times::optional::serialize")]
            oldest_open_at: Option<i64>,
            oldest_open_age_seconds: Option<i64>,
            dead_letters: Vec<GroupView>,
            by_state: BTreeMap<&'static str, u64>,
            by_reason: BTreeMap<&'static str, u64>,
            by_class: BTreeMap<&'static str, u64>,
            open_by_class: BTreeMap<&'static str, u64>,
            recovered: RecoveredView,
            corrected: u64,
            came_back: CameBackView,
            by_day: &'r [DailyCount],
            arrivals: &'r [HourlyArrivals],
            roles: &'r RoleStatuses,
            causes: &'r [RoleProblem],
            next: &'r [NextStep],
        }
        #[derive(Serialize)]
        struct GroupView {
            state: DeadLetterState,
            reason: Reason,
            class: Class,
            dead_letters: u64,
            #[serde(serialize_with = "times::optional::serialize")]
            oldest_failed_at: Option<i64>,
            oldest_age_seconds: Option<i64>,
        }
        #[derive(Serialize)]
        struct RecoveredView {
            dead_letters: u64,
            share: Option<f64>,
            median_seconds: Option<f64>,
        }
        #[derive(Serialize)]
        struct CameBackView {
            reopened: u64,
            failed_corrections: u64,
        }
        let age = |count: DeadLetterCount| count.oldest_at.map(|oldest| age_seconds(oldest, self.at));
        let group = |(&(state, reason), count): (&(DeadLetterState, Reason), &DeadLetterCount)| GroupView {
            state,
            reason,
            class: reason.class(),
            dead_letters: count.dead_letters,
            oldest_failed_at: count.oldest_at,
            oldest_age_seconds: age(*count),
        };
        let class = |of: fn(&Self, Class) -> DeadLetterCount| {
            Class::ALL.map(|class| (class.as_str(), of(self, class).dead_letters)).into()
        };
        let open = self.open();
        let view = View {
            store: &self.store,
            at: self.at,
            since: self.since,
            total: self.dead_letters(),
            open: open.dead_letters,
            oldest_open_at: open.oldest_at,
            oldest_open_age_seconds: age(open),
            dead_letters: self.groups.iter().map(group).collect(),
            by_state: DeadLetterState::ALL.map(|it| (it.as_str(), self.in_state(it).dead_letters)).into(),
            by_reason: Reason::ALL.map(|it| (it.as_str(), self.of_reason(it).dead_letters)).into(),
            by_class: class(Self::of_class),
            open_by_class: class(Self::open_of_class),
            recovered: RecoveredView {
                dead_letters: self.in_state(DeadLetterState::Recovered).dead_letters,
                share: self.recovered_share(),
                median_seconds: self.median_recovery.map(|took| took.as_secs_f64()),
            },
            corrected: self.corrected,
            came_back: CameBackView { reopened: self.reopened, failed_corrections: self.failed_corrections },
            by_day: &self.days,
            arrivals: &self.arrivals,
            roles: &self.roles,
            causes: &self.causes,
            next: &self.next,
        };
        view.serialize(serializer)
    }
}

impl DeadLetterQueue {
    /// Reads the dead-letter store; calls `seen` with the number of dead letters read so far.
    pub async fn report(
        &self,
        since: Option<i64>,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Report, StoreError> {
        let at = self.clock.now_us();
        let roles = RoleStatuses::of(&self.operations.heartbeats().await?, at);
        let mut totals = Totals::new(at);
        let selection = Selection { since, ..Selection::default() };
        let mut dead_letters = self.select(&selection, Detail::Brief);
        let mut count = 0;
        while let Some(selected) = dead_letters.try_next().await? {
            totals.add(&selected.record);
            count += 1;
            seen(count);
        }
        let causes = role_problems(&roles, &WaitingDeadLetters::default());
        let mut report = Report {
            store: self.facts.describe(),
            at,
            since,
            days: totals.days(),
            arrivals: totals.hours(),
            median_recovery: totals.median_recovery(),
            corrected: 0,
            reopened: totals.reopened,
            failed_corrections: totals.failed_corrections,
            groups: totals.groups,
            roles,
            causes,
            next: Vec::new(),
        };
        let discarded = report.in_state(DeadLetterState::Discarded).dead_letters;
        if discarded > 0 {
            report.corrected = self.corrections(since).await?.min(discarded);
        }
        report.next = next(&report);
        Ok(report)
    }

    /// The number of dead letters that corrections have closed, since then.
    async fn corrections(&self, since: Option<i64>) -> Result<u64, StoreError> {
        let mut corrected = 0;
        let mut operations = self.operations.operations();
        while let Some(operation) = operations.try_next().await? {
            let is_in = since.is_none_or(|since| operation.started_at >= since);
            if operation.kind == OperationKind::Correct && is_in {
                let counts = OutcomeCounts::read(&operation.outcomes);
                corrected += counts.outcomes.get(&ActualOutcome::Discarded).copied().unwrap_or_default();
            }
        }
        Ok(corrected)
    }
}

/// First the roles to start, then the open dead letters.
fn next(report: &Report) -> Vec<NextStep> {
    let look = NextStep::new(NextAction::Triage, NextReason::DeadLettersOpen);
    let roles = report.causes.iter().filter_map(RoleProblem::step);
    roles.chain((report.open().dead_letters > 0).then_some(look)).collect()
}
