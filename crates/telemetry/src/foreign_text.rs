//! Text that others wrote, as a terminal may show it: nothing in it moves the cursor, hides or reorders what is
//! printed beside it.

use std::borrow::Cow;

/// Returns the text with its control characters and its [invisible](is_invisible) characters escaped. Line feeds
/// and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_invisible(c) || (c.is_control() && !matches!(c, '\n' | '\t')))
}

/// Returns the text on one line: as [`printable`], with line feeds and tabs escaped, too.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_invisible(c) || c.is_control())
}

/// Returns the text with its invisible characters escaped as JSON does, so that a line of JSON stays one.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_invisible) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_invisible(c) {
            true => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => shown.push(c),
        }
    }
    shown.into()
}

/// Returns true for characters without a width and for those that change the direction of the text or end a line:
/// a text can lie with them.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn escaped(text: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_unsafe) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unsafe(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_hides_or_reorders_is_escaped_and_the_rest_stays() {
        assert_eq!(printable("a\x1b[2J\nb\t\u{9b}\x07é"), "a\\u{1b}[2J\nb\t\\u{9b}\\u{7}é");
        assert_eq!(one_line("a\nb\tc"), "a\\nb\\tc");
        assert_eq!(
            one_line("admin\u{202e}txt.exe\u{200b}\u{feff}"),
            "admin\\u{202e}txt.exe\\u{200b}\\u{feff}"
        );
        assert!(matches!(one_line("naïve 東京"), Cow::Borrowed(_)));
        assert_eq!(one_line(&one_line("\x1b\u{202e}")), one_line("\x1b\u{202e}"), "once is enough");
        assert_eq!(visible("{\"a\":\"\u{202e}\"}"), "{\"a\":\"\\u202e\"}");
    }
}
