//! Triage: the problems that keep dead letters open, the verdicts of all open dead letters, and the next
//! steps.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use serde::Serialize;

use super::DeadLetterQueue;
use super::forecast::{Forecast, forecast};
use super::next_action::{NextAction, NextReason, NextStep};
use super::role_status::{RoleProblem, RoleStatuses, WaitingDeadLetters, role_problems};
use super::selection::{Detail, Selection};
use super::times::{self, age_seconds};
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, DeadLetterState};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_domain::role::Role;
use ecom_domain::verdict::Verdict;
use ecom_pipeline::retry_policy::RetryPolicy;
use ecom_store::StoreError;

/// The longest that a handler that keeps up is late with an attempt, in microseconds.
const PUNCTUAL: i64 = 5_000_000;

/// The open dead letters with one verdict.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct VerdictGroup {
    /// The result of retrying any of them now.
    pub verdict: Verdict,
    /// Their number.
    pub dead_letters: u64,
    /// The one that failed first.
    pub oldest: DeadLetterId,
    /// The time of its first failure, microseconds since the epoch.
    #[serde(rename = "oldest_failed_at", serialize_with = "times::serialize")]
    pub oldest_at: i64,
    /// Seconds since then.
    pub oldest_age_seconds: i64,
    /// The order it is about.
    #[serde(skip)]
    pub oldest_order: Option<OrderId>,
    /// Their number by reason.
    pub reasons: BTreeMap<Reason, u64>,
    /// Their fate without a human's action.
    pub by_itself: GroupForecast,
}

/// The fate of a group of dead letters without a human's action. Nothing happens while no handler runs.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Debug)]
pub struct GroupForecast {
    /// True if a handler runs.
    pub handler_alive: bool,
    /// Dead letters that a running handler resolves.
    pub closes: u64,
    /// The latest time at which it has resolved all of those, microseconds since the epoch; `None` while no
    /// handler runs.
    #[serde(serialize_with = "times::optional::serialize")]
    pub closed_by: Option<i64>,
    /// Dead letters that are retried until their orders are recorded.
    #[serde(rename = "waits_for_orders")]
    pub waits: u64,
    /// The time when the first of those is parked, microseconds since the epoch; `None` while no handler runs.
    #[serde(serialize_with = "times::optional::serialize")]
    pub first_parks_at: Option<i64>,
    /// Dead letters that stay open until a human acts.
    #[serde(rename = "needs_a_human")]
    pub stays: u64,
}

impl VerdictGroup {
    fn new(record: &DeadLetterRecord, verdict: Verdict, handler_alive: bool) -> Self {
        Self {
            verdict,
            dead_letters: 0,
            oldest: record.dead_letter.id.clone(),
            oldest_at: i64::MAX,
            oldest_age_seconds: 0,
            oldest_order: None,
            reasons: BTreeMap::new(),
            by_itself: GroupForecast { handler_alive, ..GroupForecast::default() },
        }
    }

    fn add(&mut self, record: &DeadLetterRecord, forecast: Forecast, now: i64) {
        let dead_letter = &record.dead_letter;
        self.dead_letters += 1;
        *self.reasons.entry(dead_letter.reason).or_default() += 1;
        if (dead_letter.first_failed_at, &dead_letter.id) < (self.oldest_at, &self.oldest) {
            self.oldest_at = dead_letter.first_failed_at;
            self.oldest_age_seconds = age_seconds(self.oldest_at, now);
            self.oldest = dead_letter.id.clone();
            self.oldest_order = dead_letter.order_id;
        }
        self.by_itself.add(forecast);
    }

    /// The step to take about these dead letters; `None` if the problem with a role comes first.
    fn step(&self, roles: &RoleStatuses) -> Option<NextStep> {
        let selection = || Selection { verdict: Some(self.verdict), ..Selection::open() };
        let retry = |reason| NextStep::new(NextAction::Retry { selection: selection() }, reason);
        let look = |reason| match self.dead_letters {
            1 => NextStep::new(NextAction::Show { id: self.oldest.clone() }, reason),
            _ => NextStep::new(NextAction::List { selection: selection() }, reason),
        };
        Some(match self.verdict {
            Verdict::AppliesNow => retry(NextReason::Applies),
            Verdict::AlreadyApplied => retry(NextReason::AlreadyApplied),
            Verdict::Superseded => retry(NextReason::Superseded),
            Verdict::StillWaiting if !roles.is_alive(Role::OrderConsumer) => return None,
            Verdict::StillWaiting => look(NextReason::OrderMissing),
            Verdict::Conflict => match (self.dead_letters, self.oldest_order) {
                (1, Some(order_id)) => NextStep::new(NextAction::Explain { order_id }, NextReason::Conflict),
                (_, _) => look(NextReason::Conflict),
            },
            Verdict::Poison => look(NextReason::Poison),
        })
    }
}

impl GroupForecast {
    fn add(&mut self, forecast: Forecast) {
        match forecast {
            Forecast::Closes { by } => {
                self.closes += 1;
                self.closed_by = self.closed_by.max(Some(by)).filter(|_| self.handler_alive);
            }
            Forecast::Waits { parks_at } => {
                self.waits += 1;
                let first = self.first_parks_at.into_iter().chain(parks_at).min();
                self.first_parks_at = first.filter(|_| self.handler_alive);
            }
            Forecast::Stays => self.stays += 1,
        }
    }
}

/// The result of triage: causes, verdicts and next steps.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Triage {
    /// The store, with host or path.
    pub store: String,
    /// The time of the read, microseconds since the epoch.
    #[serde(serialize_with = "times::serialize")]
    pub at: i64,
    /// Open dead letters.
    pub open: u64,
    /// The problems that keep dead letters open.
    pub causes: Vec<RoleProblem>,
    /// The status of each role.
    pub roles: RoleStatuses,
    /// Open dead letters by verdict, in the order of [`Verdict::ALL`].
    #[serde(rename = "verdicts")]
    pub groups: Vec<VerdictGroup>,
    /// The next steps, in this order.
    pub next: Vec<NextStep>,
}

impl DeadLetterQueue {
    /// Reads every open dead letter and its verdict; calls `seen` with the number read so far.
    pub async fn triage(
        &self,
        policy: &RetryPolicy,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Triage, StoreError> {
        let at = self.clock.now_us();
        let roles = RoleStatuses::of(&self.operations.heartbeats().await?, at);
        let (orders_reach, handler_alive) = (roles.orders_reach(), roles.is_alive(Role::DlqHandler));
        let mut groups: BTreeMap<Verdict, VerdictGroup> = BTreeMap::new();
        let (mut waiting, mut open) = (WaitingDeadLetters::default(), 0);
        let mut first_due = at;
        let selection = Selection::open();
        let mut dead_letters = self.select(&selection, Detail::Judged);
        while let Some(selected) = dead_letters.try_next().await? {
            let record = &selected.record;
            let Some(verdict) = selected.verdict else { continue };
            let new = || VerdictGroup::new(record, verdict, handler_alive);
            groups.entry(verdict).or_insert_with(new).add(record, forecast(record, verdict, policy, at), at);
            if record.state() == DeadLetterState::Waiting {
                first_due = first_due.min(policy.due(record, at).unwrap_or(at));
            }
            if verdict == Verdict::StillWaiting {
                waiting.add(record.dead_letter.t, orders_reach);
            }
            open += 1;
            seen(open);
        }
        let causes = role_problems(&roles, &waiting);
        let mut groups: Vec<VerdictGroup> = groups.into_values().collect();
        // The handler attempts them in the order in which they are due: it is as late with each as with the first.
        let late = Some(at.saturating_sub(first_due)).filter(|late| *late > PUNCTUAL).unwrap_or_default();
        for group in &mut groups {
            group.by_itself.closed_by = group.by_itself.closed_by.map(|by| by.saturating_add(late));
        }
        let against_causes = causes.iter().filter_map(RoleProblem::step);
        let next = against_causes.chain(groups.iter().filter_map(|group| group.step(&roles))).collect();
        Ok(Triage { store: self.facts.describe(), at, open, causes, roles, groups, next })
    }
}
