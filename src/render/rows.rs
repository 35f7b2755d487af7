//! Dead letters one a row, as lines of text.

use super::screen::{Screen, width};
use super::table::{Column, layout};
use super::terminal::{self, plain, shortened};
use super::{or_dash, span};
use ecom_dlq::body::BodyText;
use ecom_dlq::row::Bodies;
use ecom_dlq::selection::SelectedDeadLetter;

/// Characters of a detail in a table; `show`, JSON and CSV have all of it.
const DETAIL: usize = 60;

/// The columns, as wide as everything in them usually is.
const COLUMNS: [(Column, usize); 9] = [
    (Column::left("id").id(), 44),
    (Column::left("state"), 9),
    (Column::left("reason"), 15),
    (Column::left("verdict").rank(1), 15),
    (Column::right("order").rank(2), 10),
    (Column::right("payment").rank(3), 10),
    (Column::right("age").rank(4), 8),
    (Column::right("attempts").rank(6), 8),
    (Column::left("detail").shortened(20).rank(5), DETAIL + 1),
];

/// The heading of the columns of [`line()`].
pub fn heading(screen: Screen) -> String {
    columns(COLUMNS.map(|(column, _)| column.title()), screen)
}

/// A dead letter on one line, its body below if included. Columns have fixed widths, so that lines can be
/// written one by one.
pub fn line(selected: &SelectedDeadLetter, now: i64, bodies: Bodies, screen: Screen) -> String {
    let (dead_letter, progress) = (&selected.record.dead_letter, &selected.record.progress);
    let cells = [
        dead_letter.id.as_str(),
        selected.record.state().as_str(),
        dead_letter.reason.as_str(),
        &or_dash(selected.verdict.map(|verdict| verdict.as_str())),
        &or_dash(dead_letter.order_id),
        &or_dash(dead_letter.payment_id),
        &span(now.saturating_sub(dead_letter.first_failed_at)),
        &progress.attempts.to_string(),
        &shortened(&plain(&dead_letter.detail), DETAIL),
    ];
    let line = columns(cells, screen);
    match bodies {
        Bodies::Omitted => line,
        Bodies::Included => line + &body(selected),
    }
}

/// The cells that the screen has room for. A number that is wider than its column takes the room of the next ones.
fn columns(cells: [&str; 9], screen: Screen) -> String {
    let natural = COLUMNS.map(|(_, natural)| natural);
    let widths = layout(screen, &COLUMNS.map(|(column, _)| column), natural, [0; COLUMNS.len()]);
    let mut line = String::new();
    let mut behind = 0;
    for (((column, _), cell), room) in COLUMNS.iter().zip(cells).zip(widths) {
        let Some(room) = room else { continue };
        if !line.is_empty() {
            line.push_str("  ");
        }
        let room = room.saturating_sub(behind);
        let cell = column.padded(&column.cell(cell, room), room);
        behind = width(&cell).saturating_sub(room);
        line.push_str(&cell);
    }
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
