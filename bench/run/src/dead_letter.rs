//! Dead letters: one per id, of a payment whose order is missing. Each value is a function of the id and of
//! the time the load began, in microseconds since the epoch.

use crate::arm::Kind;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};
use google_cloud_pubsub::model::Message;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The reason of each.
pub const REASON: &str = "order_not_found";
/// The detail of each.
pub const DETAIL: &str = "order is not in the fact table";
/// Partitions of a day.
const BUCKETS: u8 = 16;

/// Returns the event time of the payment: events are a microsecond apart.
pub fn t(id: i64, began: i64) -> i64 {
    began + id
}

/// Returns the payment as it was published.
pub fn body(id: i64) -> Bytes {
    crate::bodies::body(Kind::Payment, id)
}

/// Returns the attributes that a consumer sets, and the event's own time.
pub fn attributes(id: i64, began: i64) -> BTreeMap<String, String> {
    let t = t(id, began);
    let time = DateTime::from_timestamp_micros(t).unwrap_or_default();
    let time = time.to_rfc3339_opts(SecondsFormat::Micros, true);
    let all = [
        ("dlq_attempt", "1".to_owned()),
        ("dlq_consumer_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("dlq_detail", DETAIL.to_owned()),
        ("dlq_first_failed_at", time.clone()),
        ("dlq_kind", "payment".to_owned()),
        ("dlq_published_at", time),
        ("dlq_reason", REASON.to_owned()),
        ("dlq_source_message_id", id.to_string()),
        ("dlq_source_subscription", "payments_data-sub".to_owned()),
        ("event_time_us", t.to_string()),
        ("order_id", id.to_string()),
        ("payment_id", (id + 1_000).to_string()),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Returns a dead letter as a message.
pub fn message(id: i64, began: i64) -> Message {
    Message::new().set_data(body(id)).set_attributes(attributes(id, began))
}

/// The key of a dead letter in the dead-letter store.
#[derive(PartialEq, Eq, Debug)]
pub struct Key {
    /// The UTC day of the event time, as yyyymmdd.
    pub day: i32,
    /// The partition within the day.
    pub bucket: i16,
    /// Day, bucket, and a hash of kind, event time and body.
    pub id: String,
}

/// Returns the key of the dead letter of this payment.
pub fn key(id: i64, began: i64) -> Key {
    let t = t(id, began);
    let mut hash = Sha256::new();
    hash.update(b"payment\0");
    hash.update(t.to_be_bytes());
    hash.update(body(id));
    let hash = hash.finalize();
    let bucket = hash[31] % BUCKETS;
    let hex: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let day = DateTime::from_timestamp_micros(t).unwrap_or_default().format("%Y%m%d").to_string();
    let id = format!("{day}-{bucket:02}-{hex}");
    Key { day: day.parse().unwrap_or_default(), bucket: bucket.into(), id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_starts_with_the_day_of_the_event_time_and_differs_for_every_dead_letter() {
        let began = 1_705_881_599_999_990; // 2024-01-21, 10 µs before midnight
        let (first, later) = (key(1, began), key(10, began));
        assert_eq!((first.day, later.day), (20_240_121, 20_240_122));
        assert!(first.id.starts_with("20240121-") && first.id.len() == 44, "{first:?}");
        assert_eq!(first.id[9..11].parse(), Ok(first.bucket));
        assert_ne!(first.id[12..], key(1, began + 1).id[12..]);
    }
}
