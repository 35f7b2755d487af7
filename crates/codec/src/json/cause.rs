//! The causes for which a body is not JSON and that nobody sees by looking at it: its encoding, its compression,
//! and invisible characters.

/// The unit of text that a body is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    /// UTF-8, or nothing that is recognised.
    Utf8,
    /// UTF-16 with this byte order.
    Utf16(ByteOrder),
}

/// The order of the two bytes of a UTF-16 unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    /// Decodes a body; what is not UTF-16 in it becomes U+FFFD.
    pub(super) fn decode(self, body: &[u8]) -> String {
        let units = body.as_chunks::<2>().0.iter().map(|unit| match self {
            Self::Little => u16::from_le_bytes(*unit),
            Self::Big => u16::from_be_bytes(*unit),
        });
        char::decode_utf16(units).map(|decoded| decoded.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Little => "little-endian",
            Self::Big => "big-endian",
        }
    }
}

/// Returns the encoding of a body, by its byte order mark or by the NUL bytes of its first two characters.
pub(super) fn encoding(body: &[u8]) -> Encoding {
    match body {
        [0xff, 0xfe, ..] | [1..=0xff, 0, 1..=0xff, 0, ..] => Encoding::Utf16(ByteOrder::Little),
        [0xfe, 0xff, ..] | [0, 1..=0xff, 0, 1..=0xff, ..] => Encoding::Utf16(ByteOrder::Big),
        _ => Encoding::Utf8,
    }
}

/// Returns the cause for which these bytes cannot be one JSON object, if it can be known without parsing them.
pub(super) fn of_bytes(body: &[u8]) -> Option<String> {
    if let Encoding::Utf16(order) = encoding(body) {
        return Some(format!("UTF-16 ({}), not UTF-8", order.as_str()));
    }
    if let Some(format) = compression(body) {
        return Some(format!("compressed with {format}"));
    }
    let text = match std::str::from_utf8(body) {
        Ok(text) => text.trim_ascii_start(),
        Err(error) => return Some(format!("not UTF-8 from byte {}", error.valid_up_to())),
    };
    Some(match text.chars().next() {
        None => "empty".to_owned(),
        Some('{') => return None,
        Some('\u{feff}') => "begins with a byte order mark (BOM)".to_owned(),
        Some(first) if is_invisible(first) => format!("begins with {}, not with a JSON object", name(first)),
        Some(_) => "not a JSON object".to_owned(),
    })
}

/// Returns the cause that a parser found, and the character where it stopped if that is invisible.
pub(super) fn of_syntax(text: &str, error: &serde_json::Error) -> String {
    let line = text.split_inclusive('\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let at = line.floor_char_boundary(error.column().saturating_sub(1));
    match line[at..].chars().next() {
        Some(stopped) if is_invisible(stopped) => format!("{error} ({})", name(stopped)),
        _ => error.to_string(),
    }
}

/// Returns the bytes without the white space, byte order marks and characters of no width that they begin with.
pub(super) fn visible(body: &[u8]) -> &[u8] {
    let mut rest = body.trim_ascii_start();
    while let Some(first) = rest.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next())
        && is_invisible(first)
        && !first.is_control()
    {
        rest = rest[first.len_utf8()..].trim_ascii_start();
    }
    rest
}

fn compression(body: &[u8]) -> Option<&'static str> {
    Some(match body {
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0x04, 0x22, 0x4d, 0x18, ..] => "lz4",
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => "zlib",
        _ => return None,
    })
}

/// Returns whether a character leaves nothing to see, or looks like an ordinary space.
fn is_invisible(character: char) -> bool {
    let is_format = matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    let is_ascii_space = character.is_ascii_whitespace() || character == ' ';
    is_format || (character.is_control() || character.is_whitespace()) && !is_ascii_space
}

fn name(character: char) -> String {
    format!("U+{:04X}", u32::from(character))
}
