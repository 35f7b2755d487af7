//! Triage as text.

use super::command::Spell;
use super::roles;
use super::{count, counted, meaning, next_step, span, table_with, time};
use ecom_dlq::triage::{Triage, VerdictGroup};

/// The roles, the open dead letters by verdict, the commands to run next.
pub fn text(triage: &Triage, spell: Spell<'_>) -> String {
    let mut text = format!("{}, {}\n\n", triage.store, time(triage.at));
    let heading = if triage.causes.is_empty() { "roles: all running" } else { "roles" };
    text.push_str(&format!("{heading}\n{}\n", roles::lines(&triage.roles, &triage.causes, triage.at)));
    if triage.open == 0 {
        text.push_str("no open dead letters\n");
    } else {
        let open = counted(triage.open, "open dead letter");
        text.push_str(&format!("{open}, by the result of a retry now\n"));
        text.push_str(&verdicts(triage));
    }
    if !triage.next.is_empty() {
        text.push_str(&format!("\nnext:\n{}", next_step::lines(&triage.next, spell)));
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
            by_itself(triage.at, group),
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

/// The fate of these dead letters without a human's action.
fn by_itself(now: i64, group: &VerdictGroup) -> String {
    let forecast = &group.by_itself;
    let mut parts = Vec::new();
    let of_all =
        |part: u64| if part == group.dead_letters { String::new() } else { format!("{} ", count(part)) };
    let handled = forecast.closes + forecast.waits;
    if handled > 0 && !forecast.handler_alive {
        parts.push(format!("{}not while dlq_handler is down", of_all(handled)));
    } else {
        if forecast.closes > 0 {
            let by = forecast.closed_by.map_or_else(String::new, |by| {
                format!(", within {}", span(by.saturating_sub(now).saturating_add(999_999)))
            });
            parts.push(format!("{}yes{by}", of_all(forecast.closes)));
        }
        if forecast.waits > 0 {
            let parks = forecast.first_parks_at.map_or_else(String::new, |at| {
                format!("; the first is parked in {}", span(at.saturating_sub(now)))
            });
            parts.push(format!("{}once their orders are recorded{parks}", of_all(forecast.waits)));
        }
    }
    if forecast.stays > 0 {
        parts.push(format!("{}no", of_all(forecast.stays)));
    }
    parts.join(", ")
}
