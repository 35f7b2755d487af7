//! The report as text.

use serde::Serialize;

use super::command::Spell;
use super::roles;
use super::screen::Screen;
use super::table::{Column, table};
use super::{count, counted, next_step, span, time};
use ecom_clock::micros;
use ecom_dlq::report::{DailyCount, DeadLetterCount, HourlyArrivals, Report};
use ecom_dlq::times::day_of;
use ecom_domain::dead_letter::DeadLetterState;

/// The length of the longest bar, in characters.
const BAR: u64 = 40;
/// The number of days shown as text.
const DAYS: usize = 14;

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
        text.push_str(&format!(
            "

{}
{}",
            days(&report.days, screen),
            arrivals(&report.arrivals, screen)
        ));
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

/// The header of the numbers by day and reason as CSV.
pub const DAYS_HEADER: [&str; 5] = ["day", "reason", "class", "dead_letters", "open"];

/// The dead letters of a day and reason as a flat record, in the order of [`DAYS_HEADER`].
#[derive(Serialize)]
pub struct DayRow {
    pub(super) day: String,
    pub(super) reason: &'static str,
    class: &'static str,
    dead_letters: u64,
    open: u64,
}

impl From<&DailyCount> for DayRow {
    fn from(count: &DailyCount) -> Self {
        let DailyCount { at, reason, dead_letters, open } = *count;
        let (day, class) = (day_of(at), reason.class().as_str());
        Self { day, reason: reason.as_str(), class, dead_letters, open }
    }
}

/// The last days by reason.
fn days(days: &[DailyCount], screen: Screen) -> String {
    let mut shown: Vec<i64> = days.iter().map(|count| count.at).collect();
    shown.dedup();
    let earliest = shown.get(shown.len().saturating_sub(DAYS)).copied().unwrap_or_default();
    let (earlier, last): (Vec<&DailyCount>, _) = days.iter().partition(|count| count.at < earliest);
    let rows = last.into_iter().map(|day| {
        let DayRow { day: on, reason, .. } = day.into();
        [on, reason.to_owned(), count(day.dead_letters), count(day.open)]
    });
    let columns = [
        Column::left("first failed on"),
        Column::left("reason"),
        Column::right("dead letters"),
        Column::right("open").rank(1),
    ];
    let mut text = table(screen, columns, rows);
    if !earlier.is_empty() {
        let sum = earlier.iter().map(|day| day.dead_letters).sum();
        text.push_str(&format!("earlier: {}; all days: --format csv\n", counted(sum, "dead letter")));
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;
    use ecom_domain::reason::Reason;

    #[test]
    fn the_last_days_are_shown_and_the_earlier_ones_summed() {
        let day = |nth: i64| DailyCount {
            at: nth * 24 * 3_600_000_000,
            reason: Reason::Invalid,
            dead_letters: 1_000,
            open: 7,
        };
        let all: Vec<DailyCount> = (0..20).map(day).collect();
        let text = days(&all, Screen::UNLIMITED);
        assert!(text.starts_with("first failed on  reason   dead letters  open\n1970-01-07  "), "{text}");
        assert!(text.contains("1970-01-20       invalid         1,000     7\n"), "{text}");
        assert!(text.ends_with("earlier: 6,000 dead letters; all days: --format csv\n"), "{text}");
        assert_eq!(days(&all[..14], Screen::UNLIMITED).lines().count(), 15);
        let row = DayRow::from(&all[0]);
        assert_eq!((row.day.as_str(), row.reason, row.class), ("1970-01-01", "invalid", "poison"));
        assert_eq!((row.dead_letters, row.open), (1_000, 7));
    }
}
