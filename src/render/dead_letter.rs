//! One dead letter in full, as text.

use super::command::Spell;
use super::screen::Screen;
use super::table::{Column, list, table};
use super::terminal::{self, plain};
use super::{count, history_entry, meaning, next_step, or_dash, span, time, time_ms};
use ecom_codec::envelope::rfc3339;
use ecom_dlq::body::BodyText;
use ecom_dlq::show::DeadLetterDetails;
use ecom_domain::bulk_operation::OperationId;
use ecom_domain::dead_letter::{DeadLetterState, HistoryAction, HistoryEntry};
use ecom_domain::reason::Reason;

/// Fields, attributes, body, history, verdict, the commands to run next.
pub fn text(shown: &DeadLetterDetails, spell: Spell<'_>, screen: Screen) -> String {
    let (record, dead_letter) = (&shown.record, &shown.record.dead_letter);
    let head = screen.wrapped(&format!("{}, {}\n", shown.store, time(shown.at)));
    let mut text = format!("{head}\n{}\n", list(screen, fields(shown)));
    text.push_str("attributes\n");
    for (name, value) in dead_letter.attributes.iter() {
        text.push_str(&screen.wrapped(&format!("  {} = {}\n", plain(name), plain(value))));
    }
    let kept = screen.wrapped(&format!("body: {}\n", kept(shown)));
    text.push_str(&format!("\n{kept}{}\n\n", body(&dead_letter.body.bytes)));
    text.push_str("history\n");
    text.push_str(&history(&shown.history, screen));
    let verdict = shown.verdict.as_str();
    let verdict = match record.state() {
        DeadLetterState::Waiting | DeadLetterState::Parked => {
            format!("\nverdict: {verdict}: {}\n", meaning(shown.verdict))
        }
        state @ DeadLetterState::Discarded if corrected_by(state, &shown.history).is_some() => String::new(),
        DeadLetterState::Discarded => format!("\nverdict if it were open: {verdict}\n"),
        DeadLetterState::Recovered => format!("\nverdict now: {verdict}\n"),
    };
    text.push_str(&screen.wrapped(&verdict));
    match shown.next.is_empty() {
        true => text.push_str("\nnothing left to do\n"),
        false => text.push_str(&format!("\nnext:\n{}", next_step::lines(&shown.next, spell, screen))),
    }
    text
}

/// A state in words: a dead letter whose corrected body was published is not lost.
pub(super) fn state(state: DeadLetterState, history: &[HistoryEntry]) -> String {
    match corrected_by(state, history) {
        Some(message) => format!("{}: corrected by message {}", state.as_str(), plain(message)),
        None => state.as_str().to_owned(),
    }
}

/// The message that replaced a dead letter; `None` unless that is why it is discarded.
pub(super) fn corrected_by(state: DeadLetterState, history: &[HistoryEntry]) -> Option<&str> {
    let closed = history.iter().rev().find(|entry| entry.action == HistoryAction::Discarded)?;
    closed.corrected_by.as_deref().filter(|_| state == DeadLetterState::Discarded)
}

fn fields(shown: &DeadLetterDetails) -> Vec<[String; 2]> {
    let (dead_letter, progress) = (&shown.record.dead_letter, &shown.record.progress);
    let since = progress.state_at.map(|at| format!(", since {}", time(at))).unwrap_or_default();
    let reopened = match progress.generation {
        0 => String::new(),
        times => format!(", reopened {times}×"),
    };
    let age = span(shown.at.saturating_sub(dead_letter.first_failed_at));
    let next = progress.next_attempt_at.filter(|_| shown.record.state() == DeadLetterState::Waiting);
    let next = next.map(|at| format!(", next at {}", time(at))).unwrap_or_default();
    let mut fields = vec![
        ["dead letter", dead_letter.id.as_str()].map(str::to_owned),
        ["state".to_owned(), format!("{}{since}{reopened}", state(shown.record.state(), &shown.history))],
        ["reason".to_owned(), format!("{} ({})", dead_letter.reason, dead_letter.reason.class().as_str())],
        ["detail".to_owned(), plain(&dead_letter.detail)],
        ["kind".to_owned(), dead_letter.kind.as_str().to_owned()],
        ["order".to_owned(), or_dash(dead_letter.order_id)],
        ["payment".to_owned(), or_dash(dead_letter.payment_id)],
        ["event time".to_owned(), rfc3339(dead_letter.t.micros())],
        ["first failed".to_owned(), format!("{}, {age} ago", time_ms(dead_letter.first_failed_at))],
        ["attempts".to_owned(), format!("{}{next}", progress.attempts)],
    ];
    if let Some(corrected) = &dead_letter.corrects {
        fields.push(["corrects".to_owned(), corrected.as_str().to_owned()]);
    }
    fields
}

/// The size of the body, and how much of it is stored.
fn kept(shown: &DeadLetterDetails) -> String {
    let dead_letter = &shown.record.dead_letter;
    let mut text = format!("{} bytes", count(dead_letter.body.length));
    if dead_letter.reason == Reason::PanDetected {
        text.push_str(", card numbers masked before it was dead-lettered");
    }
    if let Some(sha256) = &dead_letter.body.sha256 {
        text.push_str(&format!(
            ", of which the first {} are stored; sha256 {sha256}",
            dead_letter.body.bytes.len()
        ));
    }
    match terminal::body(&dead_letter.body.bytes) {
        BodyText::Utf8(_) => text,
        BodyText::Base64(_) => text + ", in base64",
    }
}

fn body(bytes: &[u8]) -> String {
    let shown = terminal::body(bytes);
    let lines: Vec<&str> = shown.as_str().lines().collect();
    format!("  {}", lines.join("\n  "))
}

fn history(entries: &[HistoryEntry], screen: Screen) -> String {
    let rows = entries.iter().map(|entry| {
        let operation = entry.run_id.as_deref().and_then(OperationId::parse);
        [
            time_ms(entry.at),
            entry.action.as_str().to_owned(),
            or_dash(history_entry::result(entry)),
            format!("{} on {}", plain(&entry.actor), plain(&entry.host)),
            or_dash(entry.note.as_deref().map(plain)),
            or_dash(operation),
        ]
    });
    let columns = [
        Column::left("at"),
        Column::left("action"),
        Column::left("outcome").wrapped(16).rank(1),
        Column::left("by").wrapped(16).rank(2),
        Column::left("note").wrapped(16).rank(3),
        Column::left("operation").rank(4),
    ];
    table(screen, columns, rows)
}
