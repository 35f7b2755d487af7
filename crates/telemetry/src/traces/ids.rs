//! Ids of traces and spans: random, and never with so many decimal digits in a row that they look like a card number, which
//! would be masked in logs and dead letters.

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

/// The most decimal digits in a row. The shortest card number has 12, and two may stand before an id.
const DIGITS: usize = 9;

/// Generates ids.
#[derive(Clone, Default, Debug)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        loop {
            let id = self.0.new_trace_id();
            if is_plain(&id.to_bytes()) {
                return id;
            }
        }
    }

    fn new_span_id(&self) -> SpanId {
        loop {
            let id = self.0.new_span_id();
            if is_plain(&id.to_bytes()) {
                return id;
            }
        }
    }
}

/// Returns whether an id has few decimal digits in a row, and a letter at its end, where other digits may follow.
fn is_plain(id: &[u8]) -> bool {
    let (mut row, mut longest) = (0, 0);
    for digit in id.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        row = if digit < 10 { row + 1 } else { 0 };
        longest = longest.max(row);
    }
    row == 0 && longest <= DIGITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_looks_like_a_card_number() {
        let ids = Ids::default();
        for _ in 0..20_000 {
            let text = format!("00-{}-{}-01", ids.new_trace_id(), ids.new_span_id());
            assert!(ecom_card_numbers::find(text.as_bytes()).is_empty(), "{text}");
        }
    }

    #[test]
    fn ids_differ() {
        let ids = Ids::default();
        assert_ne!(ids.new_trace_id(), ids.new_trace_id());
        assert_ne!(ids.new_span_id(), ids.new_span_id());
    }
}
