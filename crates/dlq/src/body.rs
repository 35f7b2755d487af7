//! How a body is shown: byte for byte where it is text, else in base64, marked as such.

/// A body, or what the dead-letter store keeps of it, as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BodyText<'b> {
    /// The bytes are this text.
    Utf8(&'b str),
    /// The bytes in base64.
    Base64(String),
}

impl<'b> BodyText<'b> {
    /// For programs: text wherever the bytes are UTF-8.
    pub fn exact(bytes: &'b [u8]) -> Self {
        std::str::from_utf8(bytes).map_or_else(|_| Self::Base64(base64(bytes)), Self::Utf8)
    }

    /// For a terminal: text only where it says nothing to the terminal itself.
    pub fn harmless(bytes: &'b [u8]) -> Self {
        let is_harmless = |text: &&str| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t'));
        let text = std::str::from_utf8(bytes).ok().filter(is_harmless);
        text.map_or_else(|| Self::Base64(base64(bytes)), Self::Utf8)
    }

    /// The word for how it is written.
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::Utf8(_) => "utf8",
            Self::Base64(_) => "base64",
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Utf8(text) => text,
            Self::Base64(text) => text,
        }
    }
}

impl serde::Serialize for BodyText<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let is_padding = digit > chunk.len();
            let value = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if is_padding { '=' } else { char::from(DIGITS[value]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (bytes, expected) in cases {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0x00, 0xfb]), "//4A+w==");
    }

    #[test]
    fn text_is_shown_as_it_is_and_bytes_are_marked() {
        assert_eq!(BodyText::exact(b"{\"a\": \"\xc3\xa9\0\"}"), BodyText::Utf8("{\"a\": \"\u{e9}\0\"}"));
        assert_eq!(BodyText::exact(b"\xff{").encoding(), "base64");
    }

    #[test]
    fn nothing_in_a_body_reaches_the_terminal_as_a_command() {
        assert_eq!(BodyText::harmless(b"{\n\t}"), BodyText::Utf8("{\n\t}"));
        assert_eq!(BodyText::harmless(b"\x1b[2J").as_str(), "G1sySg==");
    }
}
