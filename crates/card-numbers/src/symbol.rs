//! Bytes as the search for card numbers reads them: digits, gaps between digits, and everything else.

use crate::encoding;

/// A symbol of one or more bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Symbol {
    /// A decimal digit, 0 to 9, in ASCII, full width, Arabic, Persian, Devanagari, Bengali or Thai.
    Digit(u8),
    /// A space or a dash of any width, an underscore, a slash, the end of a line, or an invisible character: a soft
    /// hyphen, the NUL byte of UTF-16.
    Gap,
    /// Anything else.
    Other,
}

/// Returns the symbol at offset `at` and its length in bytes, at least one.
///
/// A JSON escape, an HTML character reference and a percent-encoded gap are one symbol each.
#[inline(always)]
pub(super) fn symbol(bytes: &[u8], at: usize) -> (Symbol, usize) {
    match bytes[at] {
        digit @ b'0'..=b'9' => (Symbol::Digit(digit - b'0'), 1),
        b' ' | b'-' | b'_' | b'/' | b'\t' | b'\n' | b'\r' | 0 => (Symbol::Gap, 1),
        b'\\' | b'&' | b'%' | b'+' | 0x80.. => rare(bytes, at),
        _ => (Symbol::Other, 1),
    }
}

/// Reads a symbol of several bytes. It is apart from the others so that they are read in place.
#[inline(never)]
fn rare(bytes: &[u8], at: usize) -> (Symbol, usize) {
    match bytes[at] {
        b'\\' => encoding::json(&bytes[at..]),
        b'&' => encoding::nested(encoding::html(&bytes[at + 1..]), 1),
        b'%' => encoding::nested(encoding::percent(&bytes[at + 1..]), 1),
        b'+' if is_between_digits(bytes, at) => (Symbol::Gap, 1),
        _ => decoded(&bytes[at..]).map_or((Symbol::Other, 1), |(code, length)| (of(code), length)),
    }
}

/// Returns the digits from `start` to `end`, skipping all other symbols.
pub(super) fn digits(bytes: &[u8], start: usize, end: usize) -> impl Iterator<Item = u8> {
    let mut at = start;
    std::iter::from_fn(move || {
        while at < end {
            let (found, length) = symbol(bytes, at);
            at += length;
            if let Symbol::Digit(digit) = found {
                return Some(digit);
            }
        }
        None
    })
}

/// Returns whether the byte at `at` has a digit on both sides, like the `+` that stands for a space in a form.
fn is_between_digits(bytes: &[u8], at: usize) -> bool {
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    at.checked_sub(1).is_some_and(is_digit) && is_digit(at + 1)
}

/// Returns the symbol of a character.
pub(super) fn of(code: u32) -> Symbol {
    let zero = match code {
        0 | 0x09 | 0x0a | 0x0d | 0x20 | 0x2d | 0x2f | 0x5f | 0xa0 | 0xad => return Symbol::Gap,
        0x2000..=0x200d | 0x2010..=0x2015 | 0x2028 | 0x2029 | 0x202f | 0x205f | 0x2060 | 0x2212 => {
            return Symbol::Gap;
        }
        0x3000 | 0xfe58 | 0xfe63 | 0xfeff | 0xff0d => return Symbol::Gap,
        0x0030..=0x0039 => 0x0030,
        0x0660..=0x0669 => 0x0660,
        0x06f0..=0x06f9 => 0x06f0,
        0x0966..=0x096f => 0x0966,
        0x09e6..=0x09ef => 0x09e6,
        0x0e50..=0x0e59 => 0x0e50,
        0xff10..=0xff19 => 0xff10,
        _ => return Symbol::Other,
    };
    u8::try_from(code - zero).map_or(Symbol::Other, Symbol::Digit)
}

/// Decodes a UTF-8 character of two or three bytes. No digit and no gap is longer.
pub(super) fn decoded(bytes: &[u8]) -> Option<(u32, usize)> {
    let tail = |nth| bytes.get(nth).filter(|byte| *byte & 0xc0 == 0x80).map(|byte| u32::from(byte & 0x3f));
    match bytes[0] {
        lead @ 0xc2..=0xdf => Some((u32::from(lead & 0x1f) << 6 | tail(1)?, 2)),
        lead @ 0xe0..=0xef => Some((u32::from(lead & 0x0f) << 12 | tail(1)? << 6 | tail(2)?, 3)),
        _ => None,
    }
}

/// A table of byte values.
pub(super) type ByteTable = [bool; 256];

/// The bytes that can be part of a digit or a gap in text without encodings.
pub(super) static PLAIN: ByteTable = table(b"0123456789 -_/+\t\n\r\0\xc2\xd9\xdb\xe0\xe2\xe3\xef", true);
/// The bytes that a digit or an encoding can begin with.
pub(super) static BEGINS: ByteTable = table(b"0123456789\\&%\xd9\xdb\xe0\xef", false);

/// Returns the table of these bytes, with or without all UTF-8 continuation bytes.
const fn table(listed: &[u8], with_continuation: bool) -> ByteTable {
    let mut table = [false; 256];
    let mut at = 0;
    while at < listed.len() {
        table[listed[at] as usize] = true;
        at += 1;
    }
    let mut byte = 0x80;
    while with_continuation && byte < 0xc0 {
        table[byte] = true;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_gaps_are_recognised_in_every_spelling() {
        for four in ["4", "\\u0034", "\\\\u0034", "\u{ff14}", "\\uFF14", "\u{664}", "\u{6f4}", "\u{e54}"] {
            assert_eq!(symbol(four.as_bytes(), 0), (Symbol::Digit(4), four.len()), "{four}");
        }
        for gap in [
            " ",
            "-",
            "\\u0020",
            "\u{a0}",
            "\\u00A0",
            "\u{2011}",
            "\u{3000}",
            "\u{ad}",
            "\0",
            "_",
            "/",
            "\n",
            "\\n",
            "\\\\r",
            "\\/",
            "&nbsp;",
            "%20",
            "\\u0026#9;",
        ] {
            assert_eq!(symbol(gap.as_bytes(), 0), (Symbol::Gap, gap.len()), "{gap:?}");
        }
        for other in [
            "a",
            "\\q4",
            "+",
            "&",
            "&amp;",
            "&#;",
            "%",
            "%2",
            "%41",
            "\\\"",
            "\u{e9}",
            "\\u00e9",
            "\\u12",
            "\u{4e00}",
            "\u{1f4b3}",
            ",",
            ".",
        ] {
            assert_eq!(symbol(other.as_bytes(), 0).0, Symbol::Other, "{other}");
        }
        for broken in [b"\xff4".as_slice(), b"\xc2", b"\xef\xbc", b"\xefab", b"\\"] {
            assert_eq!(symbol(broken, 0), (Symbol::Other, 1), "{broken:?}");
        }
    }

    #[test]
    fn every_byte_of_a_digit_or_gap_is_in_the_tables() {
        for code in (0..=0xffff).filter_map(char::from_u32) {
            let text = code.to_string();
            let (plain, escape) = (symbol(text.as_bytes(), 0).0, format!("\\u{:04x}", u32::from(code)));
            if plain != Symbol::Other {
                assert!(text.bytes().all(|byte| PLAIN[usize::from(byte)]), "{code:?}");
                let is_digit = matches!(plain, Symbol::Digit(_));
                assert!(!is_digit || BEGINS[usize::from(text.as_bytes()[0])], "{code:?}");
                assert_eq!(symbol(escape.as_bytes(), 0), (plain, 6));
            }
        }
    }
}
