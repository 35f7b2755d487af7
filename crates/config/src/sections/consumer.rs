//! `[consumer]`: consuming events.

use std::time::Duration;

use serde::Deserialize;

use super::super::fields::{MINUTE, MS, duration_or_off, number, number_or_automatic, size};

/// Consuming events.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsumerConfig {
    /// Streams of each subscription, 1 to 64; `None` (0, the default) opens more while they are the limit.
    #[serde(deserialize_with = "number_or_automatic::<_, 64>")]
    pub streams: Option<usize>,
    /// Most deliveries in flight at once, 1 to 65,536; 4,096 by default.
    #[serde(deserialize_with = "number::<_, _, 1, 65_536>")]
    pub max_in_flight: usize,
    /// Longest wait of a payment for its order, 1 ms to 30 min, 2 s by default; `None` = not at all.
    ///
    /// A buffered payment keeps its ack deadline, which the Pub/Sub client extends for at most 60 min.
    #[serde(deserialize_with = "duration_or_off::<_, MS, { 30 * MINUTE }>")]
    pub order_grace: Option<Duration>,
    /// Most payments in the early-payment buffer, 1 to 1,000,000; 10,000 by default.
    #[serde(deserialize_with = "number::<_, _, 1, 1_000_000>")]
    pub early_payment_limit: usize,
    /// Most bytes of message bodies in the early-payment buffer, at least 1; 64 MiB by default.
    #[serde(deserialize_with = "size")]
    pub early_payment_bytes: usize,
}
