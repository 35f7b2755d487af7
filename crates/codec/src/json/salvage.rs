//! What can be read of a body that is not well-formed: its ids, and the numbers as they are written. Nothing is
//! guessed: a value counts only as the whole value of a key of the outermost object.

use std::borrow::Cow;

use crate::json::cause::{self, Encoding};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::OrderId;

/// Returns the ids that the body of an event of this kind gives, whatever else is wrong with it.
pub(crate) fn ids(kind: EventKind, body: &[u8]) -> (Option<OrderId>, Option<i64>) {
    let text = match cause::encoding(body) {
        Encoding::Utf8 => Cow::Borrowed(body),
        Encoding::Utf16(order) => Cow::Owned(order.decode(body).into_bytes()),
    };
    let id = |field| number(&text, field).and_then(positive);
    let payment_id = match kind {
        EventKind::Order => None,
        EventKind::Payment => id("payment_id"),
    };
    (id("order_id").map(OrderId), payment_id)
}

/// Returns the number that a field of the outermost object has, as it is written; the last one where the field
/// is given twice, and `None` where that is no number or may have been cut.
pub(super) fn number<'b>(body: &'b [u8], field: &str) -> Option<&'b [u8]> {
    let mut found = None;
    let mut scan = Scan { rest: cause::visible(body).strip_prefix(b"{")?, depth: 1 };
    let mut may_be_key = true;
    while let Some((token, is_text)) = scan.next_token() {
        let is_key = std::mem::replace(&mut may_be_key, token == b"," && !is_text) && is_text;
        if scan.depth == 0 {
            break;
        }
        if is_key && scan.depth == 1 && is_name(token, field) {
            let Some(value) = scan.rest.trim_ascii_start().strip_prefix(b":") else { continue };
            let value = value.trim_ascii_start();
            let length = value
                .iter()
                .position(|byte| matches!(byte, b',' | b'}' | b']' | b'"' | b' ' | b'\t'..=b'\r'));
            found = length.map(|length| &value[..length]).filter(|value| !value.is_empty());
        }
    }
    found
}

/// Returns whether a number is written as a JSON integer.
pub(super) fn is_integer(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    let is_short = digits.len() == 1 || digits.first() != Some(&b'0');
    !digits.is_empty() && is_short && digits.iter().all(u8::is_ascii_digit)
}

fn positive(number: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(number).ok().filter(|_| is_integer(number))?;
    text.parse().ok().filter(|id| *id > 0)
}

/// Returns whether the content of a text in quotes is this name, with or without escapes.
fn is_name(content: &[u8], name: &str) -> bool {
    if !content.contains(&b'\\') {
        return content == name.as_bytes();
    }
    serde_json::from_slice::<String>(&[b"\"", content, b"\""].concat()).is_ok_and(|text| text == name)
}

/// A pass over the tokens of an object: texts in quotes, and single bytes.
struct Scan<'b> {
    rest: &'b [u8],
    /// The number of objects and arrays that are open.
    depth: usize,
}

impl<'b> Scan<'b> {
    /// Returns the next token and whether it is a text; white space is skipped. A text that does not end is not
    /// returned.
    fn next_token(&mut self) -> Option<(&'b [u8], bool)> {
        self.rest = self.rest.trim_ascii_start();
        let (token, rest) = self.rest.split_at_checked(1)?;
        self.rest = rest;
        match token {
            b"\"" => return self.text().map(|text| (text, true)),
            b"{" | b"[" => self.depth += 1,
            b"}" | b"]" => self.depth -= 1,
            _ => {}
        }
        Some((token, false))
    }

    /// Takes the rest of a text, behind its first quote.
    fn text(&mut self) -> Option<&'b [u8]> {
        let mut escaped = false;
        let end = self.rest.iter().position(|byte| {
            let is_end = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            is_end
        })?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Some(text)
    }
}
