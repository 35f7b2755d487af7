//! The audit: runs one a row.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{count, json, or_dash, plain, shortened, table_with, time};
use ecom_codec::envelope::rfc3339;
use ecom_domain::bulk_operation::BulkOperation;

/// Characters of a selection in a table; ids are many. All of it is in JSON and CSV.
const SELECTION: usize = 60;

/// For people.
pub fn text(store: &str, now: i64, runs: &[BulkOperation]) -> String {
    let mut text = format!("{store}, {}\n\n", time(now));
    if runs.is_empty() {
        text.push_str("nobody has changed a dead letter from this operator yet\n");
        return text;
    }
    let rows = runs.iter().map(|run| {
        [
            time(run.started_at),
            run.kind.as_str().to_owned(),
            plain(&run.actor),
            plain(&run.host),
            shortened(&plain(&run.selection), SELECTION),
            count(run.dead_letters),
            outcomes(run),
            run.state.as_str().to_owned(),
            or_dash(run.note.as_deref().map(plain)),
            run.id.as_str().to_owned(),
        ]
    });
    let header =
        ["when", "what", "who", "host", "selection", "dead letters", "outcomes", "state", "note", "run"];
    text.push_str(&table_with(header, &["dead letters"], rows));
    text
}

fn outcomes(run: &BulkOperation) -> String {
    let each: Vec<String> = run
        .outcomes
        .iter()
        .map(|(word, dead_letters)| format!("{} {}", plain(word), count(*dead_letters)))
        .collect();
    if each.is_empty() { "-".to_owned() } else { each.join(", ") }
}

#[derive(Serialize)]
struct RunsJson<'r> {
    store: &'r str,
    at: String,
    runs: Vec<RunJson<'r>>,
}

#[derive(Serialize)]
struct RunJson<'r> {
    run_id: &'r str,
    started_at: String,
    ended_at: Option<String>,
    kind: &'static str,
    actor: &'r str,
    host: &'r str,
    selection: &'r str,
    note: Option<&'r str>,
    dead_letters: u64,
    outcomes: BTreeMap<&'r str, u64>,
    state: &'static str,
}

impl<'r> From<&'r BulkOperation> for RunJson<'r> {
    fn from(run: &'r BulkOperation) -> Self {
        Self {
            run_id: run.id.as_str(),
            started_at: rfc3339(run.started_at),
            ended_at: run.ended_at.map(rfc3339),
            kind: run.kind.as_str(),
            actor: &run.actor,
            host: &run.host,
            selection: &run.selection,
            note: run.note.as_deref(),
            dead_letters: run.dead_letters,
            outcomes: run
                .outcomes
                .iter()
                .map(|(word, dead_letters)| (word.as_str(), *dead_letters))
                .collect(),
            state: run.state.as_str(),
        }
    }
}

/// For programs.
pub fn as_json(store: &str, now: i64, runs: &[BulkOperation]) -> String {
    json(&RunsJson { store, at: rfc3339(now), runs: runs.iter().map(RunJson::from).collect() })
}

/// Names of the columns in CSV.
pub const HEADER: [&str; 11] = [
    "run_id",
    "started_at",
    "ended_at",
    "deed",
    "actor",
    "host",
    "selection",
    "note",
    "dead letters",
    "outcomes",
    "state",
];

/// The columns in CSV, absent ones empty.
pub fn cells(run: &BulkOperation) -> [String; 11] {
    [
        run.id.as_str().to_owned(),
        rfc3339(run.started_at),
        run.ended_at.map(rfc3339).unwrap_or_default(),
        run.kind.as_str().to_owned(),
        run.actor.clone(),
        run.host.clone(),
        run.selection.clone(),
        run.note.clone().unwrap_or_default(),
        run.dead_letters.to_string(),
        run.outcomes.iter().map(|(word, n)| format!("{word} {n}")).collect::<Vec<_>>().join("; "),
        run.state.as_str().to_owned(),
    ]
}
