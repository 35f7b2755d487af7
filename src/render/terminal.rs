//! Text from messages as a terminal may show it: without control characters.

use ecom_dlq::body::BodyText;
use ecom_telemetry::foreign_text::{is_invisible, one_line};

/// Foreign text on one line, control and invisible characters escaped.
pub fn plain(text: &str) -> String {
    one_line(text).into_owned()
}

/// At most this many characters of a text, marked if there are more.
pub fn shortened(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A body: its text if that has no control characters except tabs and line feeds, otherwise base64.
pub fn body(bytes: &[u8]) -> BodyText<'_> {
    let is_harmless =
        |text: &str| text.chars().all(|c| !(c.is_control() || is_invisible(c)) || matches!(c, '\n' | '\t'));
    match BodyText::of(bytes) {
        BodyText::Utf8(text) if !is_harmless(text) => BodyText::base64(bytes),
        body => body,
    }
}

/// A value or line of a body on one line, control characters replaced, at most 500 characters.
pub fn value(text: &str) -> String {
    let printable = |character: char| match character {
        '\t' => ' ',
        character if character.is_control() || is_invisible(character) => '\u{fffd}',
        character => character,
    };
    shortened(&text.chars().map(printable).collect::<String>(), 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_has_no_control_characters() {
        assert_eq!(plain("a\x1b[2J\nb\u{9b}é"), "a\\u{1b}[2J\\nb\\u{9b}é");
        assert_eq!([shortened("ééé", 2), shortened("éé", 2)], ["éé…", "éé"]);
        assert_eq!(value("\x1b[2J\u{fffd}"), "\u{fffd}[2J\u{fffd}");
        assert_eq!(value(&"x".repeat(501)).chars().count(), 501);
    }

    #[test]
    fn nothing_in_a_body_reaches_the_terminal_as_a_command() {
        assert_eq!(body(b"{\n\t}"), BodyText::Utf8("{\n\t}"));
        assert_eq!(body(b"\x1b[2J").as_str(), "G1sySg==");
    }
}
