//! The report as text.

use super::command::Spell;
use super::roles;
use super::screen::Screen;
use super::table::{Column, table};
use super::{count, counted, next_step, span, time};
use ecom_clock::micros;
use ecom_dlq::report::{DeadLetterCount, HourlyArrivals, Report};
use ecom_domain::dead_letter::DeadLetterState;

/// The length of the longest bar, in characters.
const BAR: u64 = 40;

/// The title of the hours.
const TITLE: &str = "first failed in hour from";

/// Totals, arrivals, roles, the commands to run next.
pub fn text(report: &Report, spell: Spell<'_>, screen: Screen) -> String {
    let since = report.since.map(|since| format!(", dead letters since {}", time(since))).unwrap_or_default();
    let mut text = format!("{}, {}{since}\n\n", report.store, time(report.at));
    if report.dead_letters() == 0 {
        text.push_str("no dead letters\n");
    } else {
        text.push_str(&groups(report, screen));
        text.push_str(&format!("\n{}", sentences(report).join("\n")));
        text.push_str(&format!("\n\n{}", arrivals(&report.arrivals, screen)));
    }
    let (causes, running) = roles::lines(&report.roles, &report.causes, report.at);
    text.push_str(&format!("\nroles\n{causes}{running}"));
    let mut text = screen.wrapped(&text);
    if !report.next.is_empty() {
        text.push_str(&format!("\nnext:\n{}", next_step::lines(&report.next, spell, screen)));
    }
    text
}

/// The age of the oldest of these dead letters.
pub(super) fn oldest(counts: DeadLetterCount, now: i64) -> String {
    counts.oldest_at.map_or_else(|| "-".to_owned(), |oldest| span(now.saturating_sub(oldest)))
}

fn groups(report: &Report, screen: Screen) -> String {
    let rows = report.groups.iter().map(|(&(state, reason), counts)| {
        [
            state.as_str().to_owned(),
            reason.as_str().to_owned(),
            reason.class().as_str().to_owned(),
            count(counts.dead_letters),
            oldest(*counts, report.at),
        ]
    });
    let columns = [
        Column::left("state"),
        Column::left("reason"),
        Column::left("class").rank(2),
        Column::right("dead letters"),
        Column::right("oldest").rank(1),
    ];
    table(screen, columns, rows)
}

/// The totals as sentences.
pub(super) fn sentences(report: &Report) -> Vec<String> {
    let open = report.open();
    let mut said = vec![match open.dead_letters {
        0 => "open: none".to_owned(),
        dead_letters => format!(
            "open: {}, the oldest {} old: {} waiting, {} parked",
            count(dead_letters),
            oldest(open, report.at),
            count(report.in_state(DeadLetterState::Waiting).dead_letters),
            count(report.in_state(DeadLetterState::Parked).dead_letters)
        ),
    }];
    if let Some(share) = report.recovered_share() {
        let median = report.median_recovery.map_or_else(String::new, |took| match span(micros(took)) {
            none if none == "0s" => ", half of them in less than 1s".to_owned(),
            took => format!(", half of them within {took}"),
        });
        said.push(format!(
            "recovered: {} of {} ({:.0} %){median}",
            count(report.in_state(DeadLetterState::Recovered).dead_letters),
            counted(report.dead_letters(), "dead letter"),
            (share * 100.0).floor()
        ));
    }
    if report.corrected > 0 {
        said.push(format!(
            "corrected: {} of {} discarded, replaced by corrected messages",
            count(report.corrected),
            count(report.in_state(DeadLetterState::Discarded).dead_letters)
        ));
    }
    said.push(format!(
        "came back: {} reopened, {} failed corrections",
        count(report.reopened),
        count(report.failed_corrections)
    ));
    said
}

/// The hours since the first arrival, each with a bar.
fn arrivals(hours: &[HourlyArrivals], screen: Screen) -> String {
    let most = hours.iter().map(|hour| hour.dead_letters).max().unwrap_or_default();
    if most == 0 {
        return format!("no dead letters in the last {} hours\n", hours.len());
    }
    let beside = TITLE.len() + "dead letters".len() + 4;
    let room = screen.columns().map_or(BAR, |columns| (columns.saturating_sub(beside) as u64).clamp(1, BAR));
    let rows = hours.iter().skip_while(|hour| hour.dead_letters == 0).map(|hour| {
        let bar = (hour.dead_letters * room).div_ceil(most);
        [time(hour.at), count(hour.dead_letters), "█".repeat(usize::try_from(bar).unwrap_or_default())]
    });
    let columns = [Column::left(TITLE), Column::right("dead letters"), Column::left("").rank(1)];
    table(screen, columns, rows)
}
