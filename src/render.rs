//! The dead-letter core's values as text for people, as CSV and as Markdown. Pure: the same value always
//! renders the same.

pub mod bulk;
pub mod command;
pub mod correction;
pub mod dead_letter;
pub mod history;
pub mod history_entry;
pub mod markdown;
pub mod next_step;
pub mod report;
pub mod roles;
pub mod rows;
pub mod screen;
pub mod table;
pub mod terminal;
pub mod timeline;
pub mod triage;

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use ecom_domain::verdict::Verdict;

/// A number with thousands separators.
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

/// A number of things: `1 dead letter`, `2 dead letters`.
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

/// A span in microseconds, by its two largest units: `6h 2m`. A negative span is `0s`.
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

/// A value, or a dash.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// The meaning of a verdict for a person who is about to retry.
pub fn meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::AppliesNow => "a retry applies it",
        Verdict::AlreadyApplied => "the row already shows it; a retry only closes it",
        Verdict::Superseded => "the row shows a newer event; a retry only closes it",
        Verdict::StillWaiting => "its order is not recorded; a retry changes nothing",
        Verdict::Conflict => "the row shows another event with the same event time; choose one of them",
        Verdict::Poison => "it cannot be applied as it is; correct it or discard it",
    }
}

/// A value as indented JSON, ending its line.
pub fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("values of texts and numbers always serialise");
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
}
