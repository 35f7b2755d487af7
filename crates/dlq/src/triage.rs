//! Cause first, then verdicts: why dead letters are open, and what retrying each would do now.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;

use super::DeadLetterQueue;
use super::diagnosis::{Diagnosis, ORDER_CONSUMER, RoleStatuses, Waiting, causes};
use super::forecast::{Forecast, forecast};
use super::next::{Command, Step};
use super::selection::{Detail, Selection};
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_domain::verdict::Verdict;
use ecom_pipeline::retry_policy::RetryPolicy;
use ecom_store::StoreError;

/// Open dead letters of one verdict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerdictGroup {
    /// What retrying any of them would do now.
    pub verdict: Verdict,
    /// How many.
    pub dead_letters: u64,
    /// When the oldest first failed, microseconds since the epoch.
    pub oldest_at: i64,
    /// The oldest.
    pub oldest: DeadLetterId,
    /// The order the oldest is about.
    pub oldest_order: Option<OrderId>,
    /// How many of each reason.
    pub reasons: BTreeMap<Reason, u64>,
    /// How many a running handler closes by itself.
    pub closes: u64,
    /// When it has closed the last of them, at the latest.
    pub closed_by: Option<i64>,
    /// How many are tried until their orders are there.
    pub waits: u64,
    /// When the first of them stops being retried.
    pub first_parks_at: Option<i64>,
    /// How many a human must act on.
    pub stays: u64,
}

impl VerdictGroup {
    fn new(record: &DeadLetterRecord, verdict: Verdict) -> Self {
        Self {
            verdict,
            dead_letters: 0,
            oldest_at: i64::MAX,
            oldest: record.dead_letter.id.clone(),
            oldest_order: None,
            reasons: BTreeMap::new(),
            closes: 0,
            closed_by: None,
            waits: 0,
            first_parks_at: None,
            stays: 0,
        }
    }

    fn add(&mut self, record: &DeadLetterRecord, forecast: Forecast) {
        let dead_letter = &record.dead_letter;
        self.dead_letters += 1;
        *self.reasons.entry(dead_letter.reason).or_default() += 1;
        if (dead_letter.first_failed_at, &dead_letter.id) < (self.oldest_at, &self.oldest) {
            self.oldest_at = dead_letter.first_failed_at;
            self.oldest = dead_letter.id.clone();
            self.oldest_order = dead_letter.order_id;
        }
        match forecast {
            Forecast::Closes { by } => {
                self.closes += 1;
                self.closed_by = self.closed_by.max(Some(by));
            }
            Forecast::Waits { parks_at } => {
                self.waits += 1;
                self.first_parks_at = earlier(self.first_parks_at, parks_at);
            }
            Forecast::Stays => self.stays += 1,
        }
    }

    /// What to run about these dead letters.
    fn step(&self, roles: &RoleStatuses) -> Option<Step> {
        let these = Selection { verdict: Some(self.verdict), ..Selection::open() };
        let look = |why: &str| match self.dead_letters {
            1 => Step::new(Command::show(&self.oldest), why),
            _ => Step::new(Command::list(&these), why),
        };
        Some(match self.verdict {
            Verdict::AppliesNow => Step::new(Command::retry(&these), "applies them"),
            Verdict::AlreadyApplied => Step::new(Command::retry(&these), "closes them: the rows show them"),
            Verdict::Superseded => {
                Step::new(Command::retry(&these), "closes them: the rows show newer events")
            }
            // Starting it stands among the causes.
            Verdict::StillWaiting if !roles.is_alive(ORDER_CONSUMER) => return None,
            Verdict::StillWaiting => look("whose orders were never recorded"),
            Verdict::Conflict => match (self.dead_letters, self.oldest_order) {
                (1, Some(order)) => Step::new(Command::explain(order), "two events of the same time"),
                (_, _) => look("each has another event of the same time in its row"),
            },
            Verdict::Poison if self.dead_letters == 1 => look("what is wrong with it, and how to correct it"),
            Verdict::Poison => look("what is wrong with each; `show` says how to correct it"),
        })
    }
}

fn earlier(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Why dead letters are open, and what retrying each would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Triage {
    /// The store, with host or path.
    pub store: String,
    /// When this was read, microseconds since the epoch.
    pub at: i64,
    /// The roles' signs of life.
    pub roles: RoleStatuses,
    /// What keeps dead letters open, the most telling first.
    pub causes: Vec<Diagnosis>,
    /// Open dead letters.
    pub open: u64,
    /// Open dead letters by verdict, in the order of [`Verdict::ALL`].
    pub groups: Vec<VerdictGroup>,
    /// What to run next, in this order.
    pub next: Vec<Step>,
}

impl DeadLetterQueue {
    /// Looks at every open dead letter; calls `seen` with the number looked at so far.
    pub async fn triage(
        &self,
        policy: &RetryPolicy,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Triage, StoreError> {
        let at = self.clock.now_us();
        let roles = RoleStatuses::of(&self.operations.heartbeats().await?, at);
        let orders_reach = roles.orders_reach();
        let mut groups: BTreeMap<Verdict, VerdictGroup> = BTreeMap::new();
        let (mut waiting, mut open) = (Waiting::default(), 0);
        let selection = Selection::open();
        let mut dead_letters = self.select(&selection, Detail::Judged);
        while let Some(selected) = dead_letters.try_next().await? {
            let record = &selected.record;
            let Some(verdict) = selected.verdict else { continue };
            let group = groups.entry(verdict).or_insert_with(|| VerdictGroup::new(record, verdict));
            group.add(record, forecast(record, verdict, policy, at));
            if verdict == Verdict::StillWaiting {
                waiting.add(record.dead_letter.t, orders_reach);
            }
            open += 1;
            seen(open);
        }
        let causes = causes(&roles, &waiting);
        let groups: Vec<VerdictGroup> = groups.into_values().collect();
        let next = next(&causes, &groups, &roles);
        Ok(Triage { store: self.facts.describe(), at, roles, causes, open, groups, next })
    }
}

/// First what removes the cause, then what is done about each group.
fn next(causes: &[Diagnosis], groups: &[VerdictGroup], roles: &RoleStatuses) -> Vec<Step> {
    let against_causes = causes.iter().filter_map(Diagnosis::step);
    let about_groups = groups.iter().filter_map(|group| group.step(roles));
    against_causes.chain(about_groups).collect()
}
