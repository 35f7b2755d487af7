//! The attribute `traceparent`: `00-TRACE-SPAN-FLAGS`, as W3C Trace Context has it.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The length of a value of version 00, in bytes.
const LENGTH: usize = 55;

/// Parses a value; `None` if it is not one. A version after 00 may have more fields at its end.
pub(super) fn parse(text: &str) -> Option<SpanContext> {
    let mut fields = text.split('-');
    let version = hex(fields.next()?, 2)?;
    let (trace, span, flags) = (hex(fields.next()?, 32)?, hex(fields.next()?, 16)?, hex(fields.next()?, 2)?);
    if version == "ff" || (version == "00" && fields.next().is_some()) {
        return None;
    }
    let trace = TraceId::from_hex(trace).ok()?;
    let span = SpanId::from_hex(span).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

/// Returns true for a value of version 00 whose trace is not sampled. Most values are of this kind, and need not be read.
pub(super) fn is_unsampled(text: &str) -> bool {
    matches!(
        text.as_bytes(),
        [b'0', b'0', b'-', .., b'-', _, b'0' | b'2' | b'4' | b'6' | b'8' | b'a' | b'c' | b'e']
    ) && text.len() == LENGTH
}

/// Returns the field if it is so many lower-case hexadecimal digits.
fn hex(field: &str, length: usize) -> Option<&str> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (field.len() == length && field.bytes().all(is_digit)).then_some(field)
}

/// Formats a span as the parent of others.
pub(super) fn format(trace: TraceId, span: SpanId, is_sampled: bool) -> String {
    let mut text = String::with_capacity(LENGTH);
    text.push_str("00-");
    push_hex(&mut text, &trace.to_bytes());
    text.push('-');
    push_hex(&mut text, &span.to_bytes());
    text.push_str(if is_sampled { "-01" } else { "-00" });
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_value_is_read_and_written_as_it_is() {
        for (text, is_sampled) in [(SAMPLED, true), (&SAMPLED.replace("-01", "-00"), false)] {
            let context = parse(text).unwrap();
            assert_eq!((context.is_sampled(), context.is_remote()), (is_sampled, true));
            assert_eq!(is_unsampled(text), !is_sampled);
            assert_eq!(format(context.trace_id(), context.span_id(), is_sampled), text);
        }
        let later = parse(&format!("{}-more", SAMPLED.replacen("00", "01", 1))).unwrap();
        assert_eq!(format(later.trace_id(), later.span_id(), later.is_sampled()), SAMPLED);
    }

    #[test]
    fn what_is_no_trace_is_none() {
        for text in [
            "",
            "00",
            "x",
            &SAMPLED.to_uppercase(),
            &SAMPLED[..54],
            &format!("{SAMPLED}-more"),
            &SAMPLED.replacen("00", "ff", 1),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse(text), None, "{text}");
            assert!(!is_unsampled(text), "{text}");
        }
    }
}
