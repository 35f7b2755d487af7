//! The operator's answers as text for people, and as JSON, CSV and Markdown for everything else. Pure:
//! the same answer always looks the same.

pub mod bulk;
pub mod correction;
pub mod dead_letter;
pub mod history;
pub mod markdown;
pub mod report_json;
pub mod report_text;
pub mod roles;
pub mod rows;
pub mod timeline;
pub mod triage;

use chrono::{DateTime, SecondsFormat};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

pub(crate) use ecom_dlq::fact_text::{or_dash, plain};
use ecom_dlq::next::{Spell, Step};
use ecom_domain::verdict::Verdict;

/// A plain table: first column to the left, the others to the right.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    aligned(header, rows, |column| if column == 0 { CellAlignment::Left } else { CellAlignment::Right })
}

/// A plain table: all columns to the left but the named ones, which hold numbers and times.
pub fn table_with<const N: usize>(
    header: [&str; N],
    to_the_right: &[&str],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    aligned(header, rows, |column| {
        if to_the_right.contains(&header[column]) { CellAlignment::Right } else { CellAlignment::Left }
    })
}

fn aligned<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    alignment: impl Fn(usize) -> CellAlignment,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_cell_alignment(alignment(index));
    }
    trimmed(&table)
}

/// Names and values, one pair a line.
pub fn list(rows: impl IntoIterator<Item = [String; 2]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for row in rows {
        table.add_row(row);
    }
    trimmed(&table)
}

/// Without the padding before the first column and after the last.
fn trimmed(table: &Table) -> String {
    let mut text = String::new();
    for line in table.trim_fmt().lines() {
        text.push_str(line.strip_prefix(' ').unwrap_or(line).trim_end());
        text.push('\n');
    }
    text
}

/// A number with thousands set apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 dead_letter`, `2 dead_letters`.
pub fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A time in microseconds since the epoch, to the second.
pub fn time(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A time in microseconds since the epoch, to the millisecond.
pub fn time_ms(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A span in microseconds, by its two largest units: `6h 2m`. What is negative is none.
pub fn span(micros: i64) -> String {
    let seconds = micros.max(0) / 1_000_000;
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let largest = units.iter().position(|(_, size)| seconds >= *size).unwrap_or(units.len() - 1);
    let mut text = format!("{}{}", seconds / units[largest].1, units[largest].0);
    if let Some((unit, size)) = units.get(largest + 1) {
        let rest = seconds % units[largest].1 / size;
        if rest > 0 {
            text.push_str(&format!(" {rest}{unit}"));
        }
    }
    text
}

/// The beginning of a text, marked where there is more.
pub fn shortened(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What a verdict means for somebody who is about to press retry.
pub fn meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::AppliesNow => "a retry applies it",
        Verdict::AlreadyApplied => "the row shows it already; a retry only closes it",
        Verdict::Superseded => "the row shows a newer event; a retry only closes it",
        Verdict::StillWaiting => "its order is not there; a retry changes nothing",
        Verdict::Conflict => "the row shows another event of the same time; somebody must choose",
        Verdict::Poison => "it can never be applied as it is; correct it, or discard it",
    }
}

/// Commands to run next, one a line, each with its reason as a shell's comment.
pub(crate) fn steps(next: &[Step], spell: Spell<'_>) -> String {
    let spelt: Vec<(String, &str)> =
        next.iter().map(|step| (spell(&step.command), step.why.as_str())).collect();
    let width = spelt.iter().map(|(command, _)| command.chars().count()).max().unwrap_or_default();
    let line = |(command, why): (String, &str)| format!("  {command:width$}   # {why}\n");
    spelt.into_iter().map(line).collect()
}

/// The same for programs.
#[derive(Serialize)]
pub(crate) struct StepJson {
    command: String,
    why: String,
}

impl StepJson {
    pub(crate) fn all(next: &[Step], spell: Spell<'_>) -> Vec<Self> {
        next.iter().map(|step| Self { command: spell(&step.command), why: step.why.clone() }).collect()
    }
}

/// A value as JSON for people and programs, ending its line.
pub(crate) fn json(value: &impl Serialize) -> String {
    // Structs of texts and numbers have no way to fail.
    let text = serde_json::to_string_pretty(value).expect("an answer always makes JSON");
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let shown: Vec<String> = [0, 999, 1_000, 1_234_567].into_iter().map(count).collect();
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [counted(1, "dead letter"), counted(1_000, "dead letter")],
            ["1 dead letter", "1,000 dead letters"]
        );
    }

    #[test]
    fn spans_have_their_two_largest_units() {
        let shown = [-5, 0, 59, 60, 3_599, 7_320, 86_400, 90_061, 864_000].map(|s| span(s * 1_000_000));
        assert_eq!(shown, ["0s", "0s", "59s", "1m", "59m 59s", "2h 2m", "1d", "1d 1h", "10d"]);
    }

    #[test]
    fn what_others_wrote_says_nothing_to_the_terminal() {
        assert_eq!(plain("a\x1b[2J\nb\u{9b}é"), "a\\u{1b}[2J\\nb\\u{9b}é");
        assert_eq!([shortened("ééé", 2), shortened("éé", 2)], ["éé…", "éé"]);
    }
}
