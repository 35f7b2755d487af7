//! The audit log as a table and as CSV, one operation a row.

use std::collections::BTreeMap;

use serde::Serialize;

use super::command::selection_words;
use super::screen::Screen;
use super::table::{Column, table};
use super::terminal::{plain, shortened};
use super::{count, or_dash, time};
use ecom_codec::envelope::rfc3339;
use ecom_dlq::history::{OperationHistory, OperationRecord};

/// Characters of a selection in a table; JSON and CSV have all of it.
const SELECTION: usize = 60;

/// The operations as a table.
pub fn text(history: &OperationHistory, screen: Screen) -> String {
    let mut text = screen.wrapped(&format!("{}, {}\n\n", history.store, time(history.at)));
    if history.operations.is_empty() {
        text.push_str("no bulk operations yet\n");
        return text;
    }
    let rows = history.operations.iter().map(|operation| {
        [
            time(operation.started_at),
            operation.kind.as_str().to_owned(),
            plain(&operation.actor),
            plain(&operation.host),
            shortened(&selection(operation), SELECTION),
            count(operation.dead_letters),
            outcomes(&operation.outcomes),
            operation.state.as_str().to_owned(),
            or_dash(operation.note.as_deref().map(plain)),
            operation.operation_id.to_string(),
        ]
    });
    let columns = [
        Column::left("started").rank(1),
        Column::left("kind"),
        Column::left("by").wrapped(12).rank(4),
        Column::left("host").wrapped(12).rank(7),
        Column::left("selection").wrapped(16).rank(5),
        Column::right("dead letters").rank(2),
        Column::left("outcomes").wrapped(16).rank(3),
        Column::left("state"),
        Column::left("note").wrapped(16).rank(6),
        Column::left("operation"),
    ];
    text.push_str(&table(screen, columns, rows));
    text
}

fn outcomes(outcomes: &BTreeMap<String, u64>) -> String {
    let each =
        outcomes.iter().map(|(word, dead_letters)| format!("{} {}", plain(word), count(*dead_letters)));
    let each: Vec<String> = each.collect();
    if each.is_empty() { "-".to_owned() } else { each.join(", ") }
}

/// The arguments that select the same dead letters; `all` if there are none, a dash if they are unknown.
fn selection(operation: &OperationRecord) -> String {
    let words = operation.selection.as_ref().map(selection_words);
    or_dash(words.map(|words| if words.is_empty() { "all".to_owned() } else { words.join(" ") }))
}

/// The names of the CSV columns.
pub const HEADER: [&str; 11] = [
    "operation_id",
    "started_at",
    "ended_at",
    "kind",
    "actor",
    "host",
    "selection",
    "note",
    "dead_letters",
    "outcomes",
    "state",
];

/// An operation as a flat record, in the order of [`HEADER`].
#[derive(Serialize)]
pub struct HistoryRow<'o> {
    operation_id: String,
    started_at: String,
    ended_at: Option<String>,
    kind: &'static str,
    actor: &'o str,
    host: &'o str,
    selection: String,
    note: Option<&'o str>,
    dead_letters: u64,
    outcomes: String,
    state: &'static str,
}

/// The record of an operation.
pub fn row(operation: &OperationRecord) -> HistoryRow<'_> {
    let outcomes = operation.outcomes.iter().map(|(word, n)| format!("{word} {n}"));
    HistoryRow {
        operation_id: operation.operation_id.to_string(),
        started_at: rfc3339(operation.started_at),
        ended_at: operation.ended_at.map(rfc3339),
        kind: operation.kind.as_str(),
        actor: &operation.actor,
        host: &operation.host,
        selection: selection(operation),
        note: operation.note.as_deref(),
        dead_letters: operation.dead_letters,
        outcomes: outcomes.collect::<Vec<_>>().join("; "),
        state: operation.state.as_str(),
    }
}
