//! The terminal that a text is for.

use unicode_width::UnicodeWidthStr;

/// The width of the terminal that a text is for. A file or another program has no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Screen {
    columns: Option<usize>,
}

impl Screen {
    /// Lines of any length.
    pub const UNLIMITED: Self = Self { columns: None };

    /// A terminal with this many columns.
    pub const fn of_columns(columns: usize) -> Self {
        Self { columns: Some(columns) }
    }

    /// Returns the number of columns; `None` without a limit.
    pub fn columns(self) -> Option<usize> {
        self.columns
    }

    /// Returns whether a line of this width fits.
    pub fn fits(self, width: usize) -> bool {
        self.columns.is_none_or(|columns| width <= columns)
    }

    /// Breaks the lines that do not fit between words. The following lines are indented by two columns more.
    pub fn wrapped(self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
            match self.columns {
                Some(columns) if width(line) > columns => {
                    let indent = line.len() - line.trim_start_matches(' ').len();
                    let hanging = if indent + 2 < columns / 2 { indent + 2 } else { 0 };
                    shown.push_str(&wrap(line, columns, hanging));
                }
                _ => shown.push_str(line),
            }
            shown.push_str(end);
        }
        shown
    }
}

/// Returns the number of terminal columns of a text without control characters.
pub(super) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Breaks a line between words. A word that is wider than a line stays whole.
fn wrap(line: &str, columns: usize, hanging: usize) -> String {
    let (mut text, mut used) = (String::with_capacity(line.len()), 0);
    let mut is_at_start = true;
    for word in line.split(' ') {
        let own = width(word);
        if !is_at_start && used + 1 + own > columns && !text.trim_start().is_empty() {
            text.truncate(text.trim_end().len());
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', hanging));
            used = hanging;
        } else if !is_at_start {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += own;
        is_at_start = false;
    }
    text
}

/// Breaks the text of a table cell between words, and within a word that is wider than the column.
pub(super) fn in_column(text: &str, columns: usize) -> String {
    let mut pieces = String::with_capacity(text.len());
    let mut used = 0;
    for character in text.chars() {
        let own = width(character.encode_utf8(&mut [0; 4]));
        if character.is_whitespace() {
            used = 0;
        } else if used + own > columns {
            pieces.push(' ');
            used = own;
        } else {
            used += own;
        }
        pieces.push(character);
    }
    let lines: Vec<String> = pieces.split('\n').map(|line| wrap(line.trim_start(), columns, 0)).collect();
    lines.join("\n")
}

/// Returns the beginning of a text that fits into so many rows of so many columns. Its last line names the number of
/// lines that were left out.
pub fn cut_to_rows(text: &str, rows: usize, columns: usize) -> String {
    let rows_of = |line: &str| width(line).div_ceil(columns.max(1)).max(1);
    let lines: Vec<&str> = text.lines().collect();
    if lines.iter().map(|line| rows_of(line)).sum::<usize>() <= rows {
        return text.to_owned();
    }
    let (mut shown, mut used) = (Vec::new(), 1);
    for line in &lines {
        used += rows_of(line);
        if used > rows {
            break;
        }
        shown.push(*line);
    }
    let left_out = lines.len() - shown.len();
    format!("{}\n… {left_out} more lines: enlarge the terminal", shown.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_keep_their_indent() {
        let screen = Screen::of_columns(20);
        let text = "  ✗ order_consumer last seen 6h ago\nshort\n";
        assert_eq!(screen.wrapped(text), "  ✗ order_consumer\n    last seen 6h ago\nshort\n");
        assert_eq!(screen.wrapped(&"x".repeat(30)), "x".repeat(30));
        assert_eq!(
            screen.wrapped("a /a/path/longer/than/the/screen b"),
            "a\n  /a/path/longer/than/the/screen\n  b"
        );
        assert_eq!(Screen::UNLIMITED.wrapped(text), text);
    }

    #[test]
    fn cells_break_within_a_word_only_if_it_is_wider_than_the_column() {
        assert_eq!(in_column("order_not_found 4, invalid 1", 16), "order_not_found\n4, invalid 1");
        assert_eq!(in_column("abcdefgh ij", 5), "abcde\nfgh\nij");
        assert_eq!(in_column("一二三", 4), "一二\n三");
        assert_eq!(in_column("", 5), "");
    }

    #[test]
    fn a_text_is_cut_to_the_rows_that_it_takes() {
        let text = "1\n2\n3\n4\n";
        assert_eq!(cut_to_rows(text, 4, 80), text);
        assert_eq!(cut_to_rows(text, 3, 80), "1\n2\n… 2 more lines: enlarge the terminal");
        assert_eq!(cut_to_rows("12345678\n2\n3\n", 3, 4), "12345678\n… 2 more lines: enlarge the terminal");
    }
}
