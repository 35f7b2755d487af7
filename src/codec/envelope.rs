//! A dead letter on its topic: the original's body byte for byte, everything else in attributes.
//!
//! `dlq_*` attributes are believed on the dead-letter subscription only.

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};

use super::json;
use crate::bus::{Attributes, Message, Received};
use crate::domain::event_time::{EventTime, Stamp};
use crate::domain::letter::{Kind, Letter, LetterBody, LetterId, sha256};
use crate::domain::order::OrderId;
use crate::domain::reason::Reason;

/// Attributes Pub/Sub takes on one message.
const ATTRIBUTE_LIMIT: usize = 100;
/// Bytes Pub/Sub takes in an attribute's name.
const NAME_LIMIT: usize = 256;
/// Bytes Pub/Sub takes in an attribute's value.
const VALUE_LIMIT: usize = 1_024;
/// Bytes Pub/Sub takes in one request, less room for what the request adds.
const MESSAGE_LIMIT: usize = 10_000_000 - 64 * 1_024;
/// The version put into `dlq_consumer_version`.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Names of attributes that only this module sets.
const OWN: [&str; 14] = [
    "dlq_attempt",
    "dlq_attributes_dropped",
    "dlq_body_length",
    "dlq_body_sha256",
    "dlq_consumer_version",
    "dlq_detail",
    "dlq_first_failed_at",
    "dlq_kind",
    "dlq_published_at",
    "dlq_reason",
    "dlq_source_message_id",
    "dlq_source_subscription",
    "order_id",
    "payment_id",
];

/// Why and where a message could not be applied.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The reason.
    pub reason: Reason,
    /// Field and cause; cut to 1 KiB.
    pub detail: String,
    /// Which source it came from.
    pub kind: Kind,
    /// The subscription it came from, short name.
    pub source_subscription: String,
    /// The order it is about, where that could be read.
    pub order_id: Option<OrderId>,
    /// The payment it is, where that could be read.
    pub payment_id: Option<i64>,
    /// Now, microseconds since the epoch.
    pub failed_at: i64,
}

/// The dead letter of a message that failed.
pub fn encode(received: &Received, failure: &Failure) -> Message {
    let mut own = Attributes::new();
    own.insert("dlq_reason", failure.reason.as_str());
    own.insert("dlq_detail", cut(&failure.detail, VALUE_LIMIT));
    own.insert("dlq_kind", failure.kind.as_str());
    own.insert("dlq_source_subscription", cut(&failure.source_subscription, VALUE_LIMIT));
    own.insert("dlq_source_message_id", cut(&received.id, VALUE_LIMIT));
    own.insert("dlq_published_at", rfc3339(received.publish_time_us));
    own.insert("dlq_first_failed_at", rfc3339(failure.failed_at));
    own.insert("dlq_attempt", received.attempt.max(1).to_string());
    own.insert("dlq_consumer_version", VERSION);
    if let Some(order_id) = failure.order_id {
        own.insert("order_id", order_id.to_string());
    }
    if let Some(payment_id) = failure.payment_id {
        own.insert("payment_id", payment_id.to_string());
    }
    let body = fitting_body(&received.message.body, &mut own);
    let attributes = with_originals(own, &received.message.attributes, MESSAGE_LIMIT - body.len());
    Message { body, attributes }
}

/// The body, cut only where even a bare dead letter would be larger than Pub/Sub takes.
fn fitting_body(body: &Bytes, own: &mut Attributes) -> Bytes {
    let room = MESSAGE_LIMIT - ATTRIBUTE_LIMIT * (NAME_LIMIT + VALUE_LIMIT) / 4;
    if body.len() <= room {
        return body.clone();
    }
    own.insert("dlq_body_length", body.len().to_string());
    own.insert("dlq_body_sha256", sha256(body));
    body.slice(..room)
}

/// Adds the original's attributes as they were, as far as they fit.
fn with_originals(mut own: Attributes, originals: &Attributes, room: usize) -> Attributes {
    let mut wanted: Vec<(&str, &str)> =
        originals.sorted().into_iter().filter(|(name, _)| !name.starts_with("goog")).collect();
    wanted.sort_by_key(|(name, _)| (*name != "event_time_us", *name != "event_id"));
    let mut left = room.saturating_sub(own.sorted().iter().map(|(n, v)| n.len() + v.len()).sum());
    let mut dropped = 0usize;
    for (name, value) in wanted {
        let fits = own.len() < ATTRIBUTE_LIMIT - 1
            && name.len() <= NAME_LIMIT
            && value.len() <= VALUE_LIMIT
            && name.len() + value.len() <= left;
        if name.is_empty() || OWN.contains(&name) || !fits {
            dropped += 1;
            continue;
        }
        left -= name.len() + value.len();
        own.insert(name, value);
    }
    if dropped > 0 {
        own.insert("dlq_attributes_dropped", dropped.to_string());
    }
    own
}

/// T of a message on the dead-letter subscription: its origin's.
pub fn event_time(received: &Received) -> EventTime {
    let attribute = |name| received.message.attributes.get(name);
    EventTime::of(&Stamp::dead_letter(
        received.publish_time_us,
        &received.id,
        attribute("dlq_published_at").and_then(micros),
        attribute("dlq_source_message_id"),
        attribute("event_time_us"),
    ))
}

/// The letter a message on the dead-letter subscription is. Total: what somebody else published
/// there becomes a letter too, judged by its body.
pub fn decode(received: &Received) -> Letter {
    let message = &received.message;
    let attribute = |name| message.attributes.get(name);
    let kind = attribute("dlq_kind").and_then(Kind::parse).unwrap_or(Kind::Payment);
    let t = event_time(received);
    let told = attribute("dlq_reason").and_then(Reason::parse);
    let (reason, detail, order_id, payment_id) = match told {
        Some(reason) => (
            reason,
            attribute("dlq_detail").unwrap_or_default().to_owned(),
            attribute("order_id").and_then(id).map(OrderId),
            attribute("payment_id").and_then(id),
        ),
        None => judged_by_body(kind, &message.body),
    };
    let mut body = LetterBody::keep(&message.body);
    if let (Some(length), Some(digest)) = (attribute("dlq_body_length"), attribute("dlq_body_sha256")) {
        body.length = length.parse().unwrap_or(body.length);
        body.sha256 = Some(digest.to_owned());
    }
    Letter {
        id: LetterId::of(kind, t, &message.body),
        kind,
        t,
        body,
        attributes: message
            .attributes
            .sorted()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        reason,
        detail,
        order_id,
        payment_id,
        first_failed_at: attribute("dlq_first_failed_at")
            .and_then(micros)
            .unwrap_or(received.publish_time_us),
        corrects: attribute("dlq_corrects").and_then(LetterId::parse),
    }
}

/// What the body alone says of a message that came without a reason.
fn judged_by_body(kind: Kind, body: &Bytes) -> (Reason, String, Option<OrderId>, Option<i64>) {
    let detail = "published on the dead-letter topic without a reason".to_owned();
    let decoded = match kind {
        Kind::Order => json::order(body).map(|order| (order.order_id, None)),
        Kind::Payment => json::payment(body).map(|payment| (payment.order_id, Some(payment.payment_id))),
    };
    match decoded {
        Ok((order_id, payment_id)) => (Reason::OrderNotFound, detail, Some(order_id), payment_id),
        Err(rejection) => (rejection.reason, rejection.detail, rejection.order_id, rejection.payment_id),
    }
}

/// Whether this module sets an attribute of that name; all others were the original's.
pub(super) fn is_own(name: &str) -> bool {
    OWN.contains(&name)
}

/// A time in microseconds as RFC 3339.
pub fn rfc3339(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn micros(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros())
}

fn id(text: &str) -> Option<i64> {
    text.parse().ok().filter(|id| *id > 0)
}

/// The longest beginning of `text` that has at most `limit` bytes.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PUBLISHED: i64 = 1_705_831_290_123_456;

    fn received(body: &'static [u8], attributes: Attributes) -> Received {
        Received {
            message: Message { body: Bytes::from_static(body), attributes },
            id: "4711".into(),
            publish_time_us: PUBLISHED,
            attempt: 0,
        }
    }

    fn failure() -> Failure {
        Failure {
            reason: Reason::OrderNotFound,
            detail: "order 7 is not in the table".into(),
            kind: Kind::Payment,
            source_subscription: "payments_data-sub".into(),
            order_id: Some(OrderId(7)),
            payment_id: Some(1007),
            failed_at: PUBLISHED + 2_000_000,
        }
    }

    fn arrived(message: Message) -> Received {
        Received { message, id: "99".into(), publish_time_us: PUBLISHED + 3_000_000, attempt: 1 }
    }

    #[test]
    fn a_dead_letter_keeps_body_event_time_and_t() {
        let attributes = Attributes::from_iter([("event_time_us", "1705831290000001"), ("tenant", "a")]);
        let source = received(b"\xff{", attributes);
        let letter = decode(&arrived(encode(&source, &failure())));
        assert_eq!(letter.body.bytes, source.message.body);
        assert_eq!(letter.t.micros(), 1_705_831_290_000_001);
        assert_eq!(letter.reason, Reason::OrderNotFound);
        assert_eq!((letter.order_id, letter.payment_id), (Some(OrderId(7)), Some(1007)));
        assert_eq!(letter.first_failed_at, PUBLISHED + 2_000_000);
        assert!(letter.attributes.contains(&("tenant".into(), "a".into())));
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let mut attributes: Attributes = (0..120).map(|n| (format!("a{n:03}"), "v")).collect();
        attributes.insert("big", "x".repeat(5_000));
        attributes.insert("googclient_x", "y");
        attributes.insert("dlq_reason", "undecodable");
        attributes.insert("event_id", "e");
        let message = encode(&received(b"{}", attributes), &failure());
        assert!(message.attributes.len() <= ATTRIBUTE_LIMIT);
        assert_eq!(message.attributes.get("dlq_reason"), Some("order_not_found"));
        assert_eq!(message.attributes.get("event_id"), Some("e"));
        assert_eq!(message.attributes.get("googclient_x"), None);
        let kept = message.attributes.sorted().iter().filter(|(name, _)| name.starts_with('a')).count();
        let dropped: usize =
            message.attributes.get("dlq_attributes_dropped").expect("some").parse().expect("number");
        assert_eq!(dropped, 120 - kept + 2);
    }

    #[test]
    fn a_body_as_large_as_a_request_still_fits_with_length_and_hash() {
        let body = Bytes::from(vec![b'x'; 10_000_000]);
        let source =
            Received { message: Message { body, ..Message::default() }, ..received(b"", Attributes::new()) };
        let message = encode(&source, &failure());
        let size: usize = message.attributes.sorted().iter().map(|(n, v)| n.len() + v.len()).sum();
        assert!(message.body.len() + size <= MESSAGE_LIMIT);
        let letter = decode(&arrived(message));
        assert_eq!(letter.body.length, 10_000_000);
        assert!(!letter.body.is_whole());
    }

    #[test]
    fn a_message_without_attributes_on_the_dead_letter_topic_is_judged_by_its_body() {
        let letter = decode(&received(b"not json", Attributes::new()));
        assert_eq!(letter.reason, Reason::Undecodable);
        assert_eq!(letter.kind, Kind::Payment);
    }

    proptest! {
        #[test]
        fn the_envelope_survives_the_hop(body in proptest::collection::vec(any::<u8>(), 0..300), names in proptest::collection::btree_map("[a-z_]{1,12}", ".{0,40}", 0..20), claimed in proptest::option::of(1i64..2_000_000_000_000_000), id in "[0-9]{1,18}", detail in ".{0,2000}") {
            let mut attributes: Attributes = names.clone().into_iter().collect();
            if let Some(claimed) = claimed { attributes.insert("event_time_us", claimed.to_string()); }
            let source = Received { message: Message { body: Bytes::from(body), attributes: attributes.clone() }, id: id.clone(), publish_time_us: PUBLISHED, attempt: 3 };
            let event_time = attributes.get("event_time_us");
            let t = EventTime::of(&Stamp::source(PUBLISHED, &id, event_time));
            let letter = decode(&arrived(encode(&source, &Failure { detail: detail.clone(), ..failure() })));
            prop_assert_eq!(letter.t, t);
            prop_assert_eq!(&letter.body.bytes, &source.message.body);
            prop_assert!(letter.detail.len() <= VALUE_LIMIT && detail.starts_with(&letter.detail));
            for (name, value) in names.iter().filter(|(name, _)| !OWN.contains(&name.as_str()) && !name.starts_with("goog") && *name != "event_time_us") {
                prop_assert!(letter.attributes.contains(&(name.clone(), value.clone())), "{name}");
            }
        }
    }
}
