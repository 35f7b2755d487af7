//! Tables that fit the screen: columns are shortened, wrapped or left out by rank.

use comfy_table::{CellAlignment, Table, presets};

use super::screen::{Screen, in_column, width};
use ecom_domain::dead_letter::DeadLetterIdPrefix;
use ecom_telemetry::foreign_text::printable;

/// The space between two columns.
const GAP: usize = 2;

/// The width of the longest word that a wrapped column makes room for.
const LONGEST_WORD: usize = 24;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    alignment: CellAlignment,
    fit: Fit,
    rank: u8,
}

/// The effect of a narrow screen on a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fit {
    /// Shown whole or not at all.
    Whole,
    /// Broken between words, to at least this many columns.
    Wrapped(usize),
    /// Cut off, to at least this many columns.
    Shortened(usize),
    /// A dead-letter id, shown as a prefix.
    Id,
}

impl Column {
    /// A column that is aligned left, always shown, and whole.
    pub const fn left(title: &'static str) -> Self {
        Self { title, alignment: CellAlignment::Left, fit: Fit::Whole, rank: 0 }
    }

    /// The same, aligned right.
    pub const fn right(title: &'static str) -> Self {
        Self { alignment: CellAlignment::Right, ..Self::left(title) }
    }

    /// Leaves the column out where there is no room beside those of a lower rank; 0 = always shown.
    pub const fn rank(self, rank: u8) -> Self {
        Self { rank, ..self }
    }

    /// Breaks its text between words where it is wider than the room for it, at least this many columns.
    pub const fn wrapped(self, at_least: usize) -> Self {
        Self { fit: Fit::Wrapped(at_least), ..self }
    }

    /// Cuts its text off where it is wider than the room for it, at least this many columns.
    pub const fn shortened(self, at_least: usize) -> Self {
        Self { fit: Fit::Shortened(at_least), ..self }
    }

    /// Shows dead-letter ids, by a prefix where there is no room for all of them.
    pub const fn id(self) -> Self {
        Self { fit: Fit::Id, ..self }
    }

    /// The title.
    pub(super) const fn title(&self) -> &'static str {
        self.title
    }

    /// A cell, filled up with spaces to this width.
    pub(super) fn padded(&self, cell: &str, room: usize) -> String {
        let space = " ".repeat(room.saturating_sub(width(cell)));
        match self.alignment {
            CellAlignment::Right => space + cell,
            CellAlignment::Left | CellAlignment::Center => cell.to_owned() + &space,
        }
    }

    /// The least width of the column where its cells and their longest word are this wide.
    fn least(&self, natural: usize, word: usize) -> usize {
        let titled = |least: usize| least.max(width(self.title)).min(natural);
        match self.fit {
            Fit::Whole => natural,
            Fit::Wrapped(least) => titled(least.max(word.min(LONGEST_WORD))),
            Fit::Shortened(least) => titled(least),
            Fit::Id => DeadLetterIdPrefix::SHOWN.min(natural),
        }
    }

    /// A cell in this width.
    pub(super) fn cell(&self, text: &str, room: usize) -> String {
        if width(text) <= room {
            return text.to_owned();
        }
        match self.fit {
            Fit::Whole => text.to_owned(),
            Fit::Wrapped(_) => in_column(text, room),
            Fit::Shortened(_) => shortened(text, room),
            Fit::Id => text.get(..DeadLetterIdPrefix::SHOWN).unwrap_or(text).to_owned(),
        }
    }
}

/// A text cut off to this many columns, marked with an ellipsis.
fn shortened(text: &str, room: usize) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        if width(&shown) + width(character.encode_utf8(&mut [0; 4])) + 1 > room {
            break;
        }
        shown.push(character);
    }
    shown + "…"
}

/// The width of each column on a screen; `None` for those left out. `words` are the widths of their longest words.
pub(super) fn layout<const N: usize>(
    screen: Screen,
    columns: &[Column; N],
    natural: [usize; N],
    words: [usize; N],
) -> [Option<usize>; N] {
    let Some(room) = screen.columns() else { return natural.map(Some) };
    let mut by_rank: Vec<usize> = (0..N).collect();
    by_rank.sort_by_key(|index| columns[*index].rank);
    let (mut widths, mut used) = ([None; N], 0);
    for &index in &by_rank {
        let least = columns[index].least(natural[index], words[index]);
        let with_gap = least + if used == 0 { 0 } else { GAP };
        if columns[index].rank == 0 || used + with_gap <= room {
            widths[index] = Some(least);
            used += with_gap;
        }
    }
    let mut left = room.saturating_sub(used);
    // An id of any length will do, so ids get what the texts leave, all or nothing.
    by_rank.sort_by_key(|index| columns[*index].fit == Fit::Id);
    for index in by_rank {
        let Some(own) = widths[index].as_mut() else { continue };
        let missing = natural[index] - *own;
        let more = if columns[index].fit == Fit::Id && missing > left { 0 } else { missing.min(left) };
        *own += more;
        left -= more;
    }
    widths
}

/// A table that fits the screen.
pub fn table<const N: usize>(
    screen: Screen,
    columns: [Column; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let rows: Vec<[String; N]> =
        rows.into_iter().map(|row| row.map(|cell| printable(&cell).into_owned())).collect();
    let (mut natural, mut words) = (columns.map(|column| width(column.title)), [0; N]);
    for row in &rows {
        for ((natural, word), cell) in natural.iter_mut().zip(&mut words).zip(row) {
            *natural = cell.split('\n').map(width).fold(*natural, usize::max);
            *word = cell.split_whitespace().map(width).fold(*word, usize::max);
        }
    }
    let widths = layout(screen, &columns, natural, words);
    let shown = || columns.iter().zip(widths).filter_map(|(column, width)| Some((column, width?)));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(shown().map(|(column, _)| column.title));
    for row in &rows {
        let cells = columns.iter().zip(widths).zip(row);
        table.add_row(cells.filter_map(|((column, width), cell)| Some(column.cell(cell, width?))));
    }
    for (table, (column, _)) in table.column_iter_mut().zip(shown()) {
        table.set_cell_alignment(column.alignment);
    }
    trimmed(&table)
}

/// Names and values, one pair a line. Values wrap between words where they do not fit.
pub fn list(screen: Screen, rows: impl IntoIterator<Item = [String; 2]>) -> String {
    let rows: Vec<[String; 2]> =
        rows.into_iter().map(|row| row.map(|cell| printable(&cell).into_owned())).collect();
    let name = rows.iter().map(|[name, _]| width(name)).max().unwrap_or_default();
    let room = screen.columns().map(|columns| columns.saturating_sub(name + GAP).max(20));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for [name, value] in rows {
        table.add_row([name, room.map_or_else(|| value.clone(), |room| in_column(&value, room))]);
    }
    trimmed(&table)
}

/// A table without the padding before its first column and after its last.
fn trimmed(table: &Table) -> String {
    let mut text = String::new();
    for line in table.trim_fmt().lines() {
        text.push_str(line.strip_prefix(' ').unwrap_or(line).trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: [Column; 5] = [
        Column::left("id").id(),
        Column::left("state"),
        Column::right("dead letters").rank(1),
        Column::left("detail").shortened(10).rank(2),
        Column::left("reasons").wrapped(12).rank(3),
    ];

    fn row(detail: &str, reasons: &str) -> [String; 5] {
        let id = "20240121-07-0123456789abcdef0123456789abcdef";
        [id, "waiting", "1,234,567", detail, reasons].map(str::to_owned)
    }

    #[test]
    fn columns_are_shortened_then_left_out_by_rank() {
        let rows = || [row("order 900 is not in the fact table", "order_not_found 1, invalid 1")];
        let at = |columns| table(Screen::of_columns(columns), COLUMNS, rows());
        assert_eq!(
            at(150),
            "id                                            state    dead letters  detail                              \
             reasons\n20240121-07-0123456789abcdef0123456789abcdef  waiting     1,234,567  order 900 is not in the fact \
             table  order_not_found 1, invalid 1\n"
        );
        let id = "20240121-07-01234567";
        let lines = [
            format!("{:20}  {:7}  dead letters  {:18}  reasons", "id", "state", "detail"),
            format!("{id}  waiting     1,234,567  order 900 is not …  order_not_found"),
            format!("{:65}1, invalid 1", ""),
        ];
        assert_eq!(at(80), lines.join("\n") + "\n");
        assert_eq!(
            at(45),
            "id                    state    dead letters\n20240121-07-01234567  waiting     1,234,567\n"
        );
        assert_eq!(at(30), "id                    state\n20240121-07-01234567  waiting\n");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_screen(
            detail in "[a-z一 ]{0,80}", reasons in "[a-z ]{0,80}", columns in 31_usize..200,
        ) {
            let shown = table(Screen::of_columns(columns), COLUMNS, [row(&detail, &reasons)]);
            for line in shown.lines() {
                prop_assert!(width(line) <= columns, "{columns}: {line:?}");
            }
            let listed = list(Screen::of_columns(columns), [["name".to_owned(), detail + &reasons]]);
            for line in listed.lines() {
                prop_assert!(width(line) <= columns, "{columns}: {line:?}");
            }
        }
    }
}
