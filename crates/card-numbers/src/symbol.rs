//! Bytes as the search for card numbers reads them: digits, gaps between digits, and everything else.

/// A symbol of one or more bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Symbol {
    /// A decimal digit, 0 to 9, in ASCII, full width, Arabic, Persian, Devanagari, Bengali or Thai.
    Digit(u8),
    /// A space or a dash of any width, or an invisible character: a soft hyphen, the NUL byte of UTF-16.
    Gap,
    /// Anything else.
    Other,
}

/// Returns the symbol at offset `at` and its length in bytes, at least one.
///
/// A JSON escape is one symbol with any number of backslashes: in JSON nested in a JSON text, `\\u0034` is
/// still a digit.
#[inline]
pub(super) fn symbol(bytes: &[u8], at: usize) -> (Symbol, usize) {
    match bytes[at] {
        digit @ b'0'..=b'9' => (Symbol::Digit(digit - b'0'), 1),
        b' ' | b'-' | 0 => (Symbol::Gap, 1),
        b'\\' => escaped(&bytes[at..]),
        byte if byte.is_ascii() => (Symbol::Other, 1),
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

fn of(code: u32) -> Symbol {
    let zero = match code {
        0 | 0x20 | 0x2d | 0xa0 | 0xad => return Symbol::Gap,
        0x2000..=0x200d | 0x2010..=0x2015 | 0x202f | 0x205f | 0x2060 | 0x2212 => return Symbol::Gap,
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
fn decoded(bytes: &[u8]) -> Option<(u32, usize)> {
    let tail = |nth| bytes.get(nth).filter(|byte| *byte & 0xc0 == 0x80).map(|byte| u32::from(byte & 0x3f));
    match bytes[0] {
        lead @ 0xc2..=0xdf => Some((u32::from(lead & 0x1f) << 6 | tail(1)?, 2)),
        lead @ 0xe0..=0xef => Some((u32::from(lead & 0x0f) << 12 | tail(1)? << 6 | tail(2)?, 3)),
        _ => None,
    }
}

fn escaped(bytes: &[u8]) -> (Symbol, usize) {
    let backslashes = bytes.iter().take_while(|byte| **byte == b'\\').count();
    match bytes.get(backslashes..backslashes + 5) {
        Some([b'u', hex @ ..]) => match hex_number(hex) {
            Some(code) => (of(code), backslashes + 5),
            None => (Symbol::Other, backslashes),
        },
        _ => (Symbol::Other, backslashes),
    }
}

fn hex_number(hex: &[u8]) -> Option<u32> {
    hex.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}

/// A table of the byte values that can be part of a digit or a gap.
pub(super) type RunBytes = [bool; 256];

/// The bytes of digits and gaps in text without escapes.
pub(super) static PLAIN: RunBytes = run_bytes(b"0123456789 -\0\xc2\xd9\xdb\xe0\xe2\xe3\xef");
/// The bytes of digits and gaps in text with escapes.
pub(super) static ESCAPED: RunBytes = run_bytes(b"0123456789 -\0\xc2\xd9\xdb\xe0\xe2\xe3\xef\\uabcdefABCDEF");

/// Returns the table of these bytes and of all UTF-8 continuation bytes.
const fn run_bytes(listed: &[u8]) -> RunBytes {
    let mut table = [false; 256];
    let mut at = 0;
    while at < listed.len() {
        table[listed[at] as usize] = true;
        at += 1;
    }
    let mut byte = 0x80;
    while byte < 0xc0 {
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
        for gap in [" ", "-", "\\u0020", "\u{a0}", "\\u00A0", "\u{2011}", "\u{3000}", "\u{ad}", "\0"] {
            assert_eq!(symbol(gap.as_bytes(), 0), (Symbol::Gap, gap.len()), "{gap:?}");
        }
        for other in ["a", "\\n4", "\\\"", "\u{e9}", "\\u00e9", "\\u12", "\u{4e00}", "\u{1f4b3}", ",", "."] {
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
                assert!(escape.bytes().all(|byte| ESCAPED[usize::from(byte)]), "{escape}");
                assert_eq!(symbol(escape.as_bytes(), 0), (plain, 6));
            }
        }
    }
}
