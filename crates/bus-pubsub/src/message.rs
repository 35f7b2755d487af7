//! Conversion of messages to and from the client library's type, and the limits of Pub/Sub.

use google_cloud_pubsub::model;

use ecom_bus::{Message, ReceivedMessage};

/// Converts a received message. Body and attributes are moved, not copied.
pub(super) fn received(message: model::Message, attempt: Option<i32>) -> ReceivedMessage {
    let publish_time_us = message.publish_time.map_or(0, |time| {
        time.seconds().saturating_mul(1_000_000).saturating_add(i64::from(time.nanos() / 1_000))
    });
    let attributes = message.attributes.into_iter().collect();
    ReceivedMessage {
        message: Message { body: message.data, attributes },
        id: message.message_id,
        publish_time_us,
        attempt: attempt.and_then(|attempt| u32::try_from(attempt).ok()).unwrap_or(0),
    }
}

/// Converts a message for publishing, without an ordering key.
pub(super) fn outgoing(message: Message) -> model::Message {
    let mut out = model::Message::new();
    out.data = message.body;
    out.attributes = message.attributes.to_map();
    out
}

/// The limit of Pub/Sub that a message exceeds.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum InvalidMessage {
    #[error("it has neither body nor attributes")]
    Empty,
    #[error("it has {0} attributes, at most 100 are allowed")]
    TooManyAttributes(usize),
    #[error("an attribute name is empty, longer than 256 bytes, or begins with goog")]
    AttributeName,
    #[error("an attribute value has {0} bytes, at most 1,024 are allowed")]
    AttributeValue(usize),
    #[error("it has {0} bytes, at most {MAX_BYTES} are allowed")]
    TooLarge(usize),
}

/// The maximum size of a message, in bytes: 10 MB for the request, less room for the topic name and the
/// encoding.
const MAX_BYTES: usize = 10_000_000 - 2_048;

/// The maximum size of a body, in bytes, beside attributes of at most 1 kB in total.
pub const MAX_BODY_BYTES: usize = MAX_BYTES - 1_024;

/// Checks a message before it joins a batch: the service rejects a batch as a whole, and the emulator does
/// not check every limit.
///
/// # Errors
/// The first limit that the message exceeds.
pub(super) fn validate(message: &Message) -> Result<(), InvalidMessage> {
    let attributes = message.attributes.iter();
    if message.body.is_empty() && attributes.len() == 0 {
        return Err(InvalidMessage::Empty);
    }
    if attributes.len() > 100 {
        return Err(InvalidMessage::TooManyAttributes(attributes.len()));
    }
    let mut bytes = message.body.len();
    for (name, value) in attributes {
        if name.is_empty() || name.len() > 256 || name.starts_with("goog") {
            return Err(InvalidMessage::AttributeName);
        }
        if value.len() > 1_024 {
            return Err(InvalidMessage::AttributeValue(value.len()));
        }
        // The encoding adds six bytes per attribute.
        bytes += name.len() + value.len() + 6;
    }
    if bytes > MAX_BYTES { Err(InvalidMessage::TooLarge(bytes)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bytes::Bytes;
    use google_cloud_wkt::Timestamp;

    use super::*;
    use ecom_bus::Attributes;

    fn with(attributes: Attributes) -> Message {
        Message { body: Bytes::from_static(b"{}"), attributes }
    }

    #[test]
    fn a_received_message_keeps_its_bytes_attributes_id_and_time() {
        let body = Bytes::from(vec![7u8; 64]);
        let mut message =
            model::Message::new().set_publish_time(Timestamp::clamp(1_700_000_000, 123_456_789));
        message.data = body.clone();
        message.message_id = "42".to_owned();
        message.attributes = HashMap::from([("event_id".to_owned(), "e".to_owned())]);
        let received = received(message, Some(3));
        assert_eq!(received.message.body.as_ptr(), body.as_ptr(), "the body was copied");
        assert_eq!(received.message.attributes.get("event_id"), Some("e"));
        assert_eq!(received.id, "42");
        assert_eq!(received.publish_time_us, 1_700_000_000_123_456);
        assert_eq!(received.attempt, 3);
    }

    #[test]
    fn an_uncounted_delivery_is_attempt_zero() {
        assert_eq!(received(model::Message::new(), None).attempt, 0);
        assert_eq!(received(model::Message::new(), Some(-1)).attempt, 0);
        assert_eq!(received(model::Message::new(), None).publish_time_us, 0);
    }

    #[test]
    fn an_outgoing_message_shares_its_body_and_has_no_ordering_key() {
        let message = with([("a", "b")].into_iter().collect());
        let out = outgoing(message.clone());
        assert_eq!(out.data.as_ptr(), message.body.as_ptr());
        assert_eq!(out.attributes.get("a").map(String::as_str), Some("b"));
        assert!(out.ordering_key.is_empty());
    }

    #[test]
    fn a_message_over_a_limit_is_invalid() {
        let many: Attributes = (0..101).map(|i| (format!("k{i}"), "v")).collect();
        let table = [
            (Message::default(), Err(InvalidMessage::Empty)),
            (with(many), Err(InvalidMessage::TooManyAttributes(101))),
            (with([("googclient", "x")].into_iter().collect()), Err(InvalidMessage::AttributeName)),
            (with([("", "x")].into_iter().collect()), Err(InvalidMessage::AttributeName)),
            (with([("k".repeat(257), "x")].into_iter().collect()), Err(InvalidMessage::AttributeName)),
            (
                with([("k", "v".repeat(1_025))].into_iter().collect()),
                Err(InvalidMessage::AttributeValue(1_025)),
            ),
            (with([("k".repeat(256), "v".repeat(1_024))].into_iter().collect()), Ok(())),
            (with(Attributes::new()), Ok(())),
        ];
        for (message, expected) in table {
            assert_eq!(validate(&message), expected, "{message:?}");
        }
        let large = Message { body: Bytes::from(vec![0u8; 10_000_000]), attributes: Attributes::new() };
        assert_eq!(validate(&large), Err(InvalidMessage::TooLarge(10_000_000)));
    }
}
