//! The message that carries a corrected body: a new event on its source topic, dated just after the event it
//! corrects. Publishing the same correction again publishes the same event again.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::envelope;
use ecom_bus::{Attributes, Message};
use ecom_domain::dead_letter::DeadLetter;

/// The attribute with the id of the dead letter that a message corrects.
pub const CORRECTS: &str = "dlq_corrects";

/// Returns the message of the `number`-th correction of a dead letter, counted from 0. Event time and event
/// id are functions of the dead letter, the number and the body; the other attributes are the original
/// message's.
pub fn correction(dead_letter: &DeadLetter, number: u32, body: Bytes) -> Message {
    let t = dead_letter.t.correction(number).micros();
    let originals = dead_letter.attributes.iter().filter(|(name, _)| is_original(name));
    let mut attributes: Attributes =
        originals.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    attributes.insert("event_time_us", t.to_string());
    attributes.insert("event_id", event_id(dead_letter, number, t, &body));
    attributes.insert(CORRECTS, dead_letter.id.to_string());
    Message { body, attributes }
}

/// Returns whether the original message had this attribute, rather than a dead-letter envelope or a
/// correction.
fn is_original(name: &str) -> bool {
    !envelope::is_envelope_attribute(name) && ![CORRECTS, "event_id", "event_time_us"].contains(&name)
}

/// Returns a `UUIDv7` whose random part is a hash of the correction.
fn event_id(dead_letter: &DeadLetter, number: u32, t: i64, body: &Bytes) -> String {
    let mut hash = Sha256::new();
    hash.update(dead_letter.id.as_str());
    hash.update(number.to_be_bytes());
    hash.update(body);
    let digest = hash.finalize();
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    let millis = u64::try_from(t / 1_000).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().hyphenated().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::screen;
    use ecom_bus::ReceivedMessage;
    use ecom_domain::event_time::EventTime;

    fn dead_letter() -> DeadLetter {
        let attributes = Attributes::from_iter([
            ("dlq_kind", "payment"),
            ("dlq_reason", "invalid"),
            ("dlq_detail", "payment_id: missing"),
            ("dlq_published_at", "2024-01-21T10:01:30Z"),
            ("dlq_source_message_id", "17"),
            ("order_id", "7"),
            ("event_id", "0190"),
            ("event_time_us", "1705831290000000"),
            ("tenant", "a"),
        ]);
        let message = Message { body: Bytes::from_static(b"{\"order_id\":7}"), attributes };
        let publish_time_us = 1_705_831_300_000_000;
        envelope::decode(&ReceivedMessage { message, id: "99".into(), publish_time_us, attempt: 1 })
    }

    #[test]
    fn a_correction_is_a_new_event_dated_just_after_the_one_it_corrects() {
        let dead_letter = dead_letter();
        let message = correction(&dead_letter, 2, Bytes::from_static(b"{}"));
        let names: Vec<&str> = message.attributes.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["dlq_corrects", "event_id", "event_time_us", "tenant"]);
        assert_eq!(message.attributes.get(CORRECTS), Some(dead_letter.id.as_str()));
        let received = ReceivedMessage {
            message,
            id: "100".into(),
            publish_time_us: dead_letter.t.micros(),
            attempt: 1,
        };
        assert_eq!(received.event_time(), EventTime::stored(1_705_831_290_000_003));
    }

    #[test]
    fn the_same_correction_is_the_same_event_and_another_is_not() {
        let dead_letter = dead_letter();
        let body = Bytes::from_static(b"{}");
        let once = correction(&dead_letter, 0, body.clone());
        assert_eq!(once, correction(&dead_letter, 0, body.clone()));
        let others =
            [correction(&dead_letter, 1, body), correction(&dead_letter, 0, Bytes::from_static(b"{ }"))];
        for other in others {
            assert_ne!(other.attributes.get("event_id"), once.attributes.get("event_id"));
        }
    }

    #[test]
    fn a_rejected_correction_becomes_a_dead_letter_that_names_what_it_corrects() {
        let dead_letter = dead_letter();
        let message = correction(&dead_letter, 0, Bytes::from_static(b"{\"order_id\":7}"));
        let source =
            ReceivedMessage { message, id: "100".into(), publish_time_us: 1_705_831_400_000_000, attempt: 1 };
        let failure = envelope::DeliveryFailure {
            reason: ecom_domain::reason::Reason::Invalid,
            detail: "payment_id: missing",
            kind: ecom_domain::dead_letter::EventKind::Payment,
            source_subscription: "payments_data-sub",
            order_id: None,
            payment_id: None,
            failed_at: 1_705_831_400_000_000,
        };
        let (_, back) = envelope::encode(&source, screen(&source.message.body), &failure);
        let back = ReceivedMessage { message: back, id: "101".into(), ..source };
        let dead_lettered = envelope::decode(&back);
        assert_eq!(dead_lettered.corrects, Some(dead_letter.id));
        assert_eq!(dead_lettered.t, dead_letter.t.correction(0));
    }
}
