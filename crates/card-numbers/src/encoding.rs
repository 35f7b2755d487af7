//! The encodings in which a digit or a gap can be written as several ASCII characters: JSON escapes, HTML character
//! references and percent-encoding. Each may be nested in the next.

use crate::symbol::{Symbol, decoded, of};

/// The names of characters in HTML that separate digits or cannot be seen.
const NAMES: [(&[u8], u32); 15] = [
    (b"nbsp;", 0xa0),
    (b"ensp;", 0x2002),
    (b"emsp;", 0x2003),
    (b"thinsp;", 0x2009),
    (b"shy;", 0xad),
    (b"zwj;", 0x200d),
    (b"zwnj;", 0x200c),
    (b"hyphen;", 0x2010),
    (b"ndash;", 0x2013),
    (b"mdash;", 0x2014),
    (b"minus;", 0x2212),
    (b"sol;", 0x2f),
    (b"lowbar;", 0x5f),
    (b"Tab;", 0x09),
    (b"NewLine;", 0x0a),
];

/// Returns whether these bytes can have one of the encodings.
pub(super) fn is_possible(bytes: &[u8]) -> bool {
    memchr::memchr3(b'\\', b'%', b'&', bytes).is_some()
}

/// Reads a JSON escape with any number of backslashes: in JSON nested in a JSON text, `\\u0034` is still a digit.
pub(super) fn json(bytes: &[u8]) -> (Symbol, usize) {
    let backslashes = bytes.iter().take_while(|byte| **byte == b'\\').count();
    match &bytes[backslashes..] {
        [b'n' | b'r' | b't' | b'/', ..] => (Symbol::Gap, backslashes + 1),
        [b'u', a, b, c, d, rest @ ..] => match number(&[*a, *b, *c, *d], 16) {
            Some(0x26) => nested(html(rest), backslashes + 5),
            Some(code) => (of(code), backslashes + 5),
            None => (Symbol::Other, backslashes),
        },
        _ => (Symbol::Other, backslashes),
    }
}

/// Reads an HTML character reference behind its `&`.
pub(super) fn html(mut bytes: &[u8]) -> (Symbol, usize) {
    let whole = bytes.len();
    while let Some(rest) = bytes.strip_prefix(b"amp;") {
        bytes = rest;
    }
    let found = match bytes.strip_prefix(b"#") {
        Some(rest) => numeric(rest),
        None => NAMES.iter().find_map(|(name, code)| Some((*code, bytes.strip_prefix(*name)?))),
    };
    found.map_or((Symbol::Other, 0), |(code, rest)| (of(code), whole - rest.len()))
}

/// Reads a percent-encoded gap behind its `%`. Nothing encodes digits so, and `5%4111…` is a number behind a `%`.
pub(super) fn percent(mut bytes: &[u8]) -> (Symbol, usize) {
    let whole = bytes.len();
    while let Some(rest) = bytes.strip_prefix(b"25") {
        bytes = rest;
    }
    let (mut character, mut length, mut ends) = ([0; 3], 0, [0; 3]);
    while length < 3
        && let [high, low, rest @ ..] = bytes
        && let Some(byte) = number(&[*high, *low], 16).and_then(|byte| u8::try_from(byte).ok())
    {
        (character[length], ends[length]) = (byte, whole - rest.len());
        length += 1;
        match rest.strip_prefix(b"%") {
            Some(next) => bytes = next,
            None => break,
        }
    }
    let (code, bytes) = match (length, character[0]) {
        (0, _) => return (Symbol::Other, 0),
        (_, 0x80..) => decoded(&character[..length]).unwrap_or((u32::from(character[0]), 1)),
        (_, ascii) => (u32::from(ascii), 1),
    };
    match of(code) {
        Symbol::Gap => (Symbol::Gap, ends[bytes - 1]),
        Symbol::Digit(_) | Symbol::Other => (Symbol::Other, 0),
    }
}

/// Returns the symbol of an encoding nested in one that takes `length` bytes.
pub(super) fn nested((symbol, inner): (Symbol, usize), length: usize) -> (Symbol, usize) {
    (symbol, inner + length)
}

/// Reads the number of a character reference, and returns the bytes behind its semicolon.
fn numeric(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, radix) = match bytes {
        [b'x' | b'X', digits @ ..] => (digits, 16),
        digits => (digits, 10),
    };
    let length = digits.iter().take(8).position(|byte| *byte == b';').filter(|length| *length > 0)?;
    Some((number(&digits[..length], radix)?, &digits[length + 1..]))
}

/// Returns the value of at most eight digits.
fn number(digits: &[u8], radix: u32) -> Option<u32> {
    digits.iter().try_fold(0u32, |number, digit| {
        Some(number.checked_mul(radix)? + char::from(*digit).to_digit(radix)?)
    })
}
