//! Bodies as text: UTF-8 as it is, any other bytes in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A stored body as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BodyText<'b> {
    /// The body is this text, byte for byte.
    Utf8(&'b str),
    /// The body is not UTF-8; this is its base64 form (RFC 4648, padded).
    Base64(String),
}

impl<'b> BodyText<'b> {
    /// The text of a body, without loss.
    pub fn of(bytes: &'b [u8]) -> Self {
        std::str::from_utf8(bytes).map_or_else(|_| Self::base64(bytes), Self::Utf8)
    }

    /// The base64 form of a body.
    pub fn base64(bytes: &[u8]) -> Self {
        Self::Base64(STANDARD.encode(bytes))
    }

    /// The name of the encoding: `utf8` or `base64`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (bytes, expected) in cases {
            assert_eq!(BodyText::base64(bytes.as_bytes()).as_str(), expected);
        }
        assert_eq!(BodyText::base64(&[0xff, 0xfe, 0x00, 0xfb]).as_str(), "//4A+w==");
    }

    #[test]
    fn text_is_shown_as_it_is_and_bytes_are_marked() {
        assert_eq!(BodyText::of(b"{\"a\": \"\xc3\xa9\0\"}"), BodyText::Utf8("{\"a\": \"\u{e9}\0\"}"));
        assert_eq!(BodyText::of(b"\xff{").encoding(), "base64");
    }
}
