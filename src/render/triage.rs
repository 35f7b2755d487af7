//! Triage as text.

use super::command::Spell;
use super::roles;
use super::screen::{Screen, cut_to_rows};
use super::table::{Column, table};
use super::{count, counted, meaning, next_step, span, time};
use ecom_dlq::triage::{Triage, VerdictGroup};

/// The roles, the open dead letters by verdict, the commands to run next.
pub fn text(triage: &Triage, spell: Spell<'_>, screen: Screen) -> String {
    let parts = Parts::of(triage, spell, screen);
    let roles = format!("{}\n{}{}", parts.heading, parts.causes, parts.running);
    joined(&[&parts.store, &roles, &parts.verdicts, &parts.meanings, &parts.next])
}

/// The same for a screen that is drawn again and again: what keeps dead letters open comes first, and what does
/// not fit into the rows is left out at the end.
pub fn watched(triage: &Triage, spell: Spell<'_>, screen: Screen, rows: usize) -> String {
    let parts = Parts::of(triage, spell, screen);
    let top = match parts.causes.is_empty() {
        true => format!("{}{}\n", parts.store, parts.heading),
        false => format!("{}{}", parts.store, parts.causes),
    };
    let text = joined(&[&top, &parts.verdicts, &parts.next, &parts.running, &parts.meanings]);
    match screen.columns() {
        Some(columns) => cut_to_rows(&text, rows, columns),
        None => text,
    }
}

/// The parts of the text, each empty or with a line feed at its end.
struct Parts {
    store: String,
    heading: &'static str,
    causes: String,
    running: String,
    verdicts: String,
    meanings: String,
    next: String,
}

impl Parts {
    fn of(triage: &Triage, spell: Spell<'_>, screen: Screen) -> Self {
        let (causes, running) = roles::lines(&triage.roles, &triage.causes, triage.at);
        let next = match triage.next.is_empty() {
            true => String::new(),
            false => format!("next:\n{}", next_step::lines(&triage.next, spell, screen)),
        };
        Self {
            store: screen.wrapped(&format!("{}, {}\n", triage.store, time(triage.at))),
            heading: if triage.causes.is_empty() { "roles: all running" } else { "roles" },
            causes: screen.wrapped(&causes),
            running: screen.wrapped(&running),
            verdicts: match triage.open {
                0 => "no open dead letters\n".to_owned(),
                open => {
                    let open = counted(open, "open dead letter");
                    format!("{open}, by the result of a retry now\n{}", verdicts(triage, screen))
                }
            },
            meanings: screen.wrapped(&meanings(triage)),
            next,
        }
    }
}

/// The parts that are not empty, with a blank line between them.
fn joined(parts: &[&str]) -> String {
    Vec::from_iter(parts.iter().filter(|part| !part.is_empty()).copied()).join("\n")
}

fn meanings(triage: &Triage) -> String {
    let line = |group: &VerdictGroup| format!("{}: {}\n", group.verdict.as_str(), meaning(group.verdict));
    triage.groups.iter().map(line).collect()
}

fn verdicts(triage: &Triage, screen: Screen) -> String {
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
    let columns = [
        Column::left("verdict"),
        Column::right("dead letters"),
        Column::right("oldest").rank(2),
        Column::left("resolves by itself").wrapped(20).rank(1),
        Column::left("reasons").wrapped(20).rank(3),
    ];
    table(screen, columns, rows)
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
