//! The report as Markdown, for tickets and chats.

use super::command::{Command, Spell};
use super::report::{DayRow, oldest, sentences};
use super::roles::problem;
use super::terminal::plain;
use super::{count, next_step, span, time};
use ecom_dlq::report::Report;

/// The report as Markdown.
pub fn text(report: &Report, spell: Spell<'_>) -> String {
    let since = report.since.map(|since| format!(", dead letters since {}", time(since))).unwrap_or_default();
    let mut text = format!("# Dead letters\n\n`{}`, {}{since}\n\n", report.store, time(report.at));
    if report.dead_letters() == 0 {
        text.push_str("No dead letters.\n");
    } else {
        for sentence in sentences(report) {
            text.push_str(&format!("- {sentence}\n"));
        }
        text.push_str(&groups(report));
        text.push_str(&days(report));
        text.push_str(&arrivals(report));
    }
    text.push_str(&roles(report));
    if !report.next.is_empty() {
        text.push_str("\n## Next\n\n```console\n");
        for step in &report.next {
            text.push_str(&format!(
                "$ {}   # {}\n",
                spell(&Command::from(&step.action)),
                next_step::reason(step)
            ));
        }
        text.push_str("```\n");
    }
    text
}

fn groups(report: &Report) -> String {
    let rows = report.groups.iter().map(|(&(state, reason), counts)| {
        [
            state.as_str().to_owned(),
            format!("`{reason}`"),
            reason.class().as_str().to_owned(),
            count(counts.dead_letters),
            oldest(*counts, report.at),
        ]
    });
    section("By state and reason", ["state", "reason", "class", "dead letters", "oldest"], rows)
}

fn days(report: &Report) -> String {
    let rows = report.days.iter().map(|day| {
        let DayRow { day: on, reason, .. } = day.into();
        [on, format!("`{reason}`"), count(day.dead_letters), count(day.open)]
    });
    section("By day and reason", ["first failed on", "reason", "dead letters", "open"], rows)
}

fn arrivals(report: &Report) -> String {
    let hours = report.arrivals.iter().filter(|hour| hour.dead_letters > 0);
    let rows = hours.map(|hour| [time(hour.at), count(hour.dead_letters)]);
    section("Arrivals in the last 24 hours", ["hour from", "dead letters"], rows)
}

fn roles(report: &Report) -> String {
    let rows = report.roles.roles.iter().map(|role| {
        let own = report.causes.iter().find(|problem| problem.role().as_str() == role.name);
        let seen = match &role.last {
            None => ["never".to_owned(), "-".to_owned()],
            Some(last) => [
                format!("{} ago", span(report.at.saturating_sub(last.seen_at))),
                format!("{} ({})", plain(&last.host), plain(&last.version)),
            ],
        };
        let [age, host] = seen;
        let status = match own {
            Some(own) => problem(own, report.at),
            None if role.hosts_alive > 0 => "running".to_owned(),
            None => "not running, not required".to_owned(),
        };
        [plain(&role.name), age, host, status]
    });
    section("Roles", ["role", "last seen", "host", "status"], rows)
}

/// A heading and a table; nothing if the table is empty.
fn section<const N: usize>(
    title: &str,
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let rows: Vec<String> = rows.map(|cells| row(&cells.map(|cell| cell.replace('|', "\\|")))).collect();
    if rows.is_empty() {
        return String::new();
    }
    let rule = row(&["---"; N].map(str::to_owned));
    format!("\n## {title}\n\n{}{rule}{}", row(&header.map(str::to_owned)), rows.concat())
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}
