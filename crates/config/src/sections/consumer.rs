//! `[consumer]`: how events are consumed.

use std::time::Duration;

use super::super::known::EARLY_PAYMENT_BYTES;
use super::super::reader::Reader;
use super::super::size;

/// How events are consumed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerConfig {
    /// Streams received side by side, 1 to 64; `None` = as many as it takes.
    pub streams: Option<usize>,
    /// Deliveries worked on at once at most; at least one.
    pub max_in_flight: usize,
    /// How long a payment waits for its order; `None` = not at all.
    pub order_grace: Option<Duration>,
    /// Payments that may wait at once; at least one.
    pub early_payment_limit: usize,
    /// Bytes of bodies that may wait at once.
    pub early_payment_bytes: usize,
}

impl ConsumerConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let streams = reader.number("consumer.streams", 0..=64);
        let max_in_flight = reader.number("consumer.max_in_flight", 1..=65_536);
        // A held payment keeps its lease, which the Pub/Sub client renews for 60 min at most: half of that.
        let order_grace = reader
            .duration_or_off("consumer.order_grace", Duration::from_millis(1)..=Duration::from_mins(30));
        let early_payment_limit = reader.number("consumer.early_payment_limit", 1..=1_000_000);
        let early_payment_bytes = reader.parsed(EARLY_PAYMENT_BYTES, size::bytes);
        Some(Self {
            streams: Some(streams?).filter(|streams| *streams > 0),
            max_in_flight: max_in_flight?,
            order_grace: order_grace?,
            early_payment_limit: early_payment_limit?,
            early_payment_bytes: early_payment_bytes?,
        })
    }
}
