//! Dead letters one a row, as lines of text.

use super::terminal::{self, plain, shortened};
use super::{or_dash, span};
use ecom_dlq::body::BodyText;
use ecom_dlq::row::Bodies;
use ecom_dlq::selection::SelectedDeadLetter;

/// Characters of a detail in a table; `show`, JSON and CSV have all of it.
const DETAIL: usize = 60;

/// The heading of the columns of [`line()`].
pub fn heading() -> String {
    columns(["id", "state", "reason", "verdict", "order", "payment", "age", "attempts", "detail"])
}

/// A dead letter on one line, its body below if included. Columns have fixed widths, so that lines can be
/// written one by one.
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
        Bodies::Omitted => line,
        Bodies::Included => line + &body(selected),
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
    let shown = terminal::body(&kept.bytes);
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
