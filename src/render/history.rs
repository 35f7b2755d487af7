//! The audit log as a table and as CSV, one operation a row.

use std::collections::BTreeMap;

use super::command::selection_words;
use super::terminal::{plain, shortened};
use super::{count, or_dash, table_with, time};
use ecom_codec::envelope::rfc3339;
use ecom_dlq::history::{OperationHistory, OperationRecord};

/// Characters of a selection in a table; JSON and CSV have all of it.
const SELECTION: usize = 60;

/// The operations as a table.
pub fn text(history: &OperationHistory) -> String {
    let mut text = format!("{}, {}\n\n", history.store, time(history.at));
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
    let header = [
        "started",
        "kind",
        "by",
        "host",
        "selection",
        "dead letters",
        "outcomes",
        "state",
        "note",
        "operation",
    ];
    text.push_str(&table_with(header, &["dead letters"], rows));
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

/// The CSV columns of an operation; absent values are empty.
pub fn cells(operation: &OperationRecord) -> [String; 11] {
    let outcomes = operation.outcomes.iter().map(|(word, n)| format!("{word} {n}"));
    [
        operation.operation_id.to_string(),
        rfc3339(operation.started_at),
        operation.ended_at.map(rfc3339).unwrap_or_default(),
        operation.kind.as_str().to_owned(),
        operation.actor.clone(),
        operation.host.clone(),
        selection(operation),
        operation.note.clone().unwrap_or_default(),
        operation.dead_letters.to_string(),
        outcomes.collect::<Vec<_>>().join("; "),
        operation.state.as_str().to_owned(),
    ]
}
