//! Dead letters one a row: lines, JSON objects, CSV.

use serde::Serialize;

use super::{or_dash, plain, shortened, span};
use ecom_codec::envelope::rfc3339;
use ecom_dlq::body::BodyText;
use ecom_dlq::selection::SelectedDeadLetter;

/// Characters of a detail in a table; all of it is in `show`, JSON and CSV.
const DETAIL: usize = 60;

/// Whether bodies are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bodies {
    /// Only their lengths.
    Left,
    /// Byte for byte.
    Shown,
}

/// A dead letter in one row.
#[derive(Serialize)]
pub struct Row<'l> {
    id: &'l str,
    state: &'static str,
    reason: &'static str,
    class: &'static str,
    verdict: Option<&'static str>,
    kind: &'static str,
    order_id: Option<i64>,
    payment_id: Option<i64>,
    event_time: String,
    event_time_us: i64,
    first_failed_at: String,
    age_seconds: i64,
    attempts: u32,
    next_attempt_at: Option<String>,
    reopened: u32,
    corrects: Option<&'l str>,
    detail: &'l str,
    body_length: u64,
    body_sha256: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<BodyText<'l>>,
}

impl<'l> Row<'l> {
    /// The row of a dead letter.
    pub fn of(selected: &'l SelectedDeadLetter, now: i64, bodies: Bodies) -> Self {
        let (dead_letter, progress) = (&selected.record.dead_letter, &selected.record.progress);
        let body = (bodies == Bodies::Shown).then(|| BodyText::exact(&dead_letter.body.bytes));
        Self {
            id: dead_letter.id.as_str(),
            state: selected.record.state().as_str(),
            reason: dead_letter.reason.as_str(),
            class: dead_letter.reason.class().as_str(),
            verdict: selected.verdict.map(|verdict| verdict.as_str()),
            kind: dead_letter.kind.as_str(),
            order_id: dead_letter.order_id.map(|order| order.0),
            payment_id: dead_letter.payment_id,
            event_time: rfc3339(dead_letter.t.micros()),
            event_time_us: dead_letter.t.micros(),
            first_failed_at: rfc3339(dead_letter.first_failed_at),
            age_seconds: now.saturating_sub(dead_letter.first_failed_at).max(0) / 1_000_000,
            attempts: progress.attempts,
            next_attempt_at: progress.next_attempt_at.map(rfc3339),
            reopened: progress.generation,
            corrects: dead_letter.corrects.as_ref().map(|id| id.as_str()),
            detail: &dead_letter.detail,
            body_length: dead_letter.body.length,
            body_sha256: dead_letter.body.sha256.as_deref(),
            body_encoding: body.as_ref().map(BodyText::encoding),
            body,
        }
    }

    /// Names of the columns in CSV.
    pub fn header(bodies: Bodies) -> Vec<&'static str> {
        let mut names = vec![
            "id",
            "state",
            "reason",
            "class",
            "verdict",
            "kind",
            "order_id",
            "payment_id",
            "event_time",
            "event_time_us",
            "first_failed_at",
            "age_seconds",
            "attempts",
            "next_attempt_at",
            "reopened",
            "corrects",
            "detail",
            "body_length",
            "body_sha256",
        ];
        if bodies == Bodies::Shown {
            names.extend(["body_encoding", "body"]);
        }
        names
    }

    /// The columns in CSV, absent ones empty.
    pub fn cells(&self) -> Vec<String> {
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        let number = |value: Option<i64>| value.map(|value| value.to_string()).unwrap_or_default();
        let mut cells = vec![
            self.id.to_owned(),
            self.state.to_owned(),
            self.reason.to_owned(),
            self.class.to_owned(),
            text(self.verdict),
            self.kind.to_owned(),
            number(self.order_id),
            number(self.payment_id),
            self.event_time.clone(),
            self.event_time_us.to_string(),
            self.first_failed_at.clone(),
            self.age_seconds.to_string(),
            self.attempts.to_string(),
            text(self.next_attempt_at.as_deref()),
            self.reopened.to_string(),
            text(self.corrects),
            self.detail.to_owned(),
            self.body_length.to_string(),
            text(self.body_sha256),
        ];
        if let (Some(encoding), Some(body)) = (self.body_encoding, &self.body) {
            cells.extend([encoding.to_owned(), body.as_str().to_owned()]);
        }
        cells
    }

    /// The row as JSON, on one line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a row of texts and numbers always makes JSON")
    }
}

/// The names of the columns of [`line()`].
pub fn heading() -> String {
    columns(["id", "state", "reason", "verdict", "order", "payment", "age", "attempts", "detail"])
}

/// A dead letter on one line for people, with its body below where that is shown. Columns have widths of
/// their own, so that lines can be written one by one.
pub fn line(selected: &SelectedDeadLetter, now: i64, bodies: Bodies) -> String {
    let (dead_letter, progress) = (&selected.record.dead_letter, &selected.record.progress);
    let line = columns([
        dead_letter.id.as_str(),
        selected.record.state().as_str(),
        dead_letter.reason.as_str(),
        &or_dash(selected.verdict.map(|verdict| verdict.as_str())),
        &or_dash(dead_letter.order_id),
        &or_dash(dead_letter.payment_id),
        &span(now.saturating_sub(dead_letter.first_failed_at)),
        &progress.attempts.to_string(),
        &shortened(&plain(&dead_letter.detail), DETAIL),
    ]);
    match bodies {
        Bodies::Left => line,
        Bodies::Shown => line + &body(selected),
    }
}

fn columns(cells: [&str; 9]) -> String {
    let [id, state, reason, verdict, order, payment, age, attempts, detail] = cells;
    let line = format!(
        "{id:44}  {state:9}  {reason:15}  {verdict:15}  {order:>10}  {payment:>10}  {age:>8}  {attempts:>8}  {detail}"
    );
    line.trim_end().to_owned() + "\n"
}

/// A body below its row.
fn body(selected: &SelectedDeadLetter) -> String {
    let kept = &selected.record.dead_letter.body;
    let shown = BodyText::harmless(&kept.bytes);
    let mark = match &shown {
        BodyText::Utf8(_) => "",
        BodyText::Base64(_) => "base64: ",
    };
    let lines: Vec<&str> = shown.as_str().lines().collect();
    match lines.is_empty() {
        true => "    (empty)\n".to_owned(),
        false => format!("    {mark}{}\n", lines.join("\n    ")),
    }
}
