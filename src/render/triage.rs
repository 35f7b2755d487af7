//! Triage, as text and as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::roles::{CauseJson, RoleJson, lines};
use super::{StepJson, count, counted, json, meaning, span, steps, table_with, time};
use ecom_codec::envelope::rfc3339;
use ecom_dlq::diagnosis::DLQ_HANDLER;
use ecom_dlq::next::Spell;
use ecom_dlq::triage::{Triage, VerdictGroup};

/// For people: cause, verdicts, what to run.
pub fn text(triage: &Triage, spell: Spell<'_>) -> String {
    let mut text = format!("{}, {}\n\n", triage.store, time(triage.at));
    let cause = if triage.causes.is_empty() { "cause: none among the roles" } else { "cause" };
    text.push_str(&format!("{cause}\n{}\n", lines(&triage.roles, &triage.causes, triage.at)));
    if triage.open == 0 {
        text.push_str("no open dead letters\n");
    } else {
        text.push_str(&format!(
            "{}: what a retry of each would do now\n",
            counted(triage.open, "open dead letter")
        ));
        text.push_str(&verdicts(triage));
    }
    if !triage.next.is_empty() {
        text.push_str(&format!("\nnext:\n{}", steps(&triage.next, spell)));
    }
    text
}

fn verdicts(triage: &Triage) -> String {
    let rows = triage.groups.iter().map(|group| {
        let reasons: Vec<String> = group
            .reasons
            .iter()
            .map(|(reason, dead_letters)| format!("{reason} {}", count(*dead_letters)))
            .collect();
        [
            group.verdict.as_str().to_owned(),
            count(group.dead_letters),
            span(triage.at.saturating_sub(group.oldest_at)),
            by_itself(triage, group),
            reasons.join(", "),
        ]
    });
    let header = ["verdict", "dead letters", "oldest", "resolves by itself", "reasons"];
    let mut text = table_with(header, &["dead letters", "oldest"], rows);
    text.push('\n');
    for group in &triage.groups {
        text.push_str(&format!("{}: {}\n", group.verdict.as_str(), meaning(group.verdict)));
    }
    text
}

/// Whether these dead letters resolve by themselves, and when.
fn by_itself(triage: &Triage, group: &VerdictGroup) -> String {
    let now = triage.at;
    let mut parts = Vec::new();
    let of_all =
        |part: u64| if part == group.dead_letters { String::new() } else { format!("{} ", count(part)) };
    let handled = group.closes + group.waits;
    if handled > 0 && !triage.roles.is_alive(DLQ_HANDLER) {
        parts.push(format!("{}not while dlq_handler is silent", of_all(handled)));
    } else {
        if group.closes > 0 {
            let by = group.closed_by.map_or_else(String::new, |by| {
                format!(", within {}", span(by.saturating_sub(now).saturating_add(999_999)))
            });
            parts.push(format!("{}yes{by}", of_all(group.closes)));
        }
        if group.waits > 0 {
            let parks = group.first_parks_at.map_or_else(String::new, |at| {
                format!("; the first parks in {}", span(at.saturating_sub(now)))
            });
            parts.push(format!("{}once their orders come{parks}", of_all(group.waits)));
        }
    }
    if group.stays > 0 {
        parts.push(format!("{}no", of_all(group.stays)));
    }
    parts.join(", ")
}

#[derive(Serialize)]
struct TriageJson<'t> {
    store: &'t str,
    at: String,
    open: u64,
    causes: Vec<CauseJson>,
    roles: Vec<RoleJson<'t>>,
    verdicts: Vec<GroupJson>,
    next: Vec<StepJson>,
}

#[derive(Serialize)]
struct GroupJson {
    verdict: &'static str,
    meaning: &'static str,
    dead_letters: u64,
    oldest: String,
    oldest_failed_at: String,
    oldest_age_seconds: i64,
    reasons: BTreeMap<&'static str, u64>,
    by_itself: ByItself,
}

/// What becomes of the dead letters by themselves. Without a handler: nothing.
#[derive(Serialize)]
struct ByItself {
    handler_alive: bool,
    closes: u64,
    closed_by: Option<String>,
    waits_for_orders: u64,
    first_parks_at: Option<String>,
    needs_a_human: u64,
}

/// For programs.
pub fn as_json(triage: &Triage, spell: Spell<'_>) -> String {
    let handler_alive = triage.roles.is_alive(DLQ_HANDLER);
    let group = |group: &VerdictGroup| GroupJson {
        verdict: group.verdict.as_str(),
        meaning: meaning(group.verdict),
        dead_letters: group.dead_letters,
        oldest: group.oldest.as_str().to_owned(),
        oldest_failed_at: rfc3339(group.oldest_at),
        oldest_age_seconds: triage.at.saturating_sub(group.oldest_at).max(0) / 1_000_000,
        reasons: group
            .reasons
            .iter()
            .map(|(reason, dead_letters)| (reason.as_str(), *dead_letters))
            .collect(),
        by_itself: ByItself {
            handler_alive,
            closes: group.closes,
            closed_by: group.closed_by.filter(|_| handler_alive).map(rfc3339),
            waits_for_orders: group.waits,
            first_parks_at: group.first_parks_at.filter(|_| handler_alive).map(rfc3339),
            needs_a_human: group.stays,
        },
    };
    json(&TriageJson {
        store: &triage.store,
        at: rfc3339(triage.at),
        open: triage.open,
        causes: CauseJson::all(&triage.causes, triage.at),
        roles: RoleJson::all(&triage.roles, triage.at),
        verdicts: triage.groups.iter().map(group).collect(),
        next: StepJson::all(&triage.next, spell),
    })
}
