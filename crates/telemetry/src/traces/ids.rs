//! Ids of traces and spans: random, and never with so many decimal digits in a row that they look like a card number, which
//! would be masked in logs and dead letters.

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

/// Generates ids.
#[derive(Clone, Default, Debug)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from_bytes(with_letters(self.0.new_trace_id().to_bytes()))
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from_bytes(with_letters(self.0.new_span_id().to_bytes()))
    }
}

/// Returns the id with a letter as every eighth digit, the last one among them.
fn with_letters<const LENGTH: usize>(mut id: [u8; LENGTH]) -> [u8; LENGTH] {
    for byte in id.iter_mut().skip(3).step_by(4) {
        *byte = (*byte & 0xf0) | (10 + (*byte & 0x0f) % 6);
    }
    id
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
