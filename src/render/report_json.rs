//! The report for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::roles::{CauseJson, RoleJson};
use super::{StepJson, json};
use ecom_codec::envelope::rfc3339;
use ecom_dlq::next::Spell;
use ecom_dlq::report::{DeadLetterCount, Report};
use ecom_domain::dead_letter::DeadLetterState;
use ecom_domain::reason::{Class, Reason};

#[derive(Serialize)]
struct ReportJson<'r> {
    store: &'r str,
    at: String,
    since: Option<String>,
    total: u64,
    open: u64,
    oldest_open_at: Option<String>,
    oldest_open_age_seconds: Option<i64>,
    dead_letters: Vec<GroupJson>,
    by_state: BTreeMap<&'static str, u64>,
    by_reason: BTreeMap<&'static str, u64>,
    by_class: BTreeMap<&'static str, u64>,
    open_by_class: BTreeMap<&'static str, u64>,
    recovered: Recovered,
    came_back: CameBack,
    arrivals: Vec<HourJson>,
    roles: Vec<RoleJson<'r>>,
    causes: Vec<CauseJson>,
    next: Vec<StepJson>,
}

#[derive(Serialize)]
struct GroupJson {
    state: &'static str,
    reason: &'static str,
    class: &'static str,
    dead_letters: u64,
    oldest_failed_at: Option<String>,
    oldest_age_seconds: Option<i64>,
}

#[derive(Serialize)]
struct Recovered {
    dead_letters: u64,
    share: Option<f64>,
    median_seconds: Option<f64>,
}

#[derive(Serialize)]
struct CameBack {
    reopened: u64,
    failed_corrections: u64,
}

#[derive(Serialize)]
struct HourJson {
    hour: String,
    dead_letters: u64,
}

/// The report as JSON.
pub fn as_json(report: &Report, spell: Spell<'_>) -> String {
    let age = |counts: DeadLetterCount| {
        counts.oldest_at.map(|oldest| report.at.saturating_sub(oldest).max(0) / 1_000_000)
    };
    let group = |(&(state, reason), counts): (&(DeadLetterState, Reason), &DeadLetterCount)| GroupJson {
        state: state.as_str(),
        reason: reason.as_str(),
        class: reason.class().as_str(),
        dead_letters: counts.dead_letters,
        oldest_failed_at: counts.oldest_at.map(rfc3339),
        oldest_age_seconds: age(*counts),
    };
    let open = report.open();
    json(&ReportJson {
        store: &report.store,
        at: rfc3339(report.at),
        since: report.since.map(rfc3339),
        total: report.dead_letters(),
        open: open.dead_letters,
        oldest_open_at: open.oldest_at.map(rfc3339),
        oldest_open_age_seconds: age(open),
        dead_letters: report.groups.iter().map(group).collect(),
        by_state: DeadLetterState::ALL
            .map(|state| (state.as_str(), report.in_state(state).dead_letters))
            .into(),
        by_reason: Reason::ALL.map(|reason| (reason.as_str(), report.of_reason(reason).dead_letters)).into(),
        by_class: Class::ALL.map(|class| (class.as_str(), report.of_class(class).dead_letters)).into(),
        open_by_class: Class::ALL
            .map(|class| (class.as_str(), report.open_of_class(class).dead_letters))
            .into(),
        recovered: Recovered {
            dead_letters: report.in_state(DeadLetterState::Recovered).dead_letters,
            share: report.recovered_share(),
            median_seconds: report.median_recovery.map(|took| took.as_secs_f64()),
        },
        came_back: CameBack { reopened: report.reopened, failed_corrections: report.failed_corrections },
        arrivals: report
            .arrivals
            .iter()
            .map(|hour| HourJson { hour: rfc3339(hour.at), dead_letters: hour.dead_letters })
            .collect(),
        roles: RoleJson::all(&report.roles, report.at),
        causes: CauseJson::all(&report.causes, report.at),
        next: StepJson::all(&report.next, spell),
    })
}
