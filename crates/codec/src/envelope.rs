//! A dead letter on its topic: the original's body byte for byte, everything else in attributes.
//! A full card number is masked on the way in and, were it there all the same, on the way out.
//!
//! `dlq_*` attributes are believed on the dead-letter subscription only.

use std::borrow::Cow;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};

use super::event::{self, Event};
use super::json::Rejection;
use super::screen::{self, Screened, screen};
use ecom_bus::{Message, ReceivedMessage};
use ecom_card_numbers::mask_text;
use ecom_domain::attributes::{Attributes, Text};
use ecom_domain::dead_letter::{DeadLetter, DeadLetterId, EventKind, StoredBody, sha256};
use ecom_domain::event_time::{EventTime, Stamp};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;

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
/// Attributes of the original that are kept before all others: its time, its id, and the trace it is part of.
const FIRST_ORIGINALS: [&str; 3] = ["event_time_us", "event_id", "traceparent"];
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
#[derive(Clone, Copy, Debug)]
pub struct Failure<'f> {
    /// The reason.
    pub reason: Reason,
    /// Field and cause; cut to 1 KiB.
    pub detail: &'f str,
    /// Which source it came from.
    pub kind: EventKind,
    /// The subscription it came from, short name.
    pub source_subscription: &'f str,
    /// The order it is about, where that could be read.
    pub order_id: Option<OrderId>,
    /// The payment it is, where that could be read.
    pub payment_id: Option<i64>,
    /// Now, microseconds since the epoch.
    pub failed_at: i64,
}

/// The dead letter of a message that failed, its body screened: a masked one is `pan_detected`,
/// whatever failed besides. Says the reason it was given.
pub fn encode(received: &ReceivedMessage, body: Screened<'_>, failure: &Failure<'_>) -> (Reason, Message) {
    let (reason, detail) = match &body {
        Screened::Clean(_) => (failure.reason, failure.detail),
        Screened::Masked { detail, .. } => (Reason::PanDetected, detail.as_str()),
    };
    let originals = masked(&received.message.attributes, received.event_time());
    let mut own: Vec<(Text, Text)> = Vec::with_capacity(OWN.len() + originals.len());
    let mut say = |name: &'static str, value: Text| own.push((name.into(), value));
    say("dlq_attempt", received.attempt.max(1).to_string().into());
    say("dlq_consumer_version", VERSION.into());
    say("dlq_detail", cut(detail, VALUE_LIMIT).to_owned().into());
    say("dlq_first_failed_at", rfc3339(failure.failed_at).into());
    say("dlq_kind", failure.kind.as_str().into());
    say("dlq_published_at", rfc3339(received.publish_time_us).into());
    say("dlq_reason", reason.as_str().into());
    say("dlq_source_message_id", cut(&received.id, VALUE_LIMIT).to_owned().into());
    say("dlq_source_subscription", cut(failure.source_subscription, VALUE_LIMIT).to_owned().into());
    if let Some(order_id) = failure.order_id {
        say("order_id", order_id.to_string().into());
    }
    if let Some(payment_id) = failure.payment_id {
        say("payment_id", payment_id.to_string().into());
    }
    let body = fitting_body(body.into_bytes(), say);
    let attributes = with_originals(own, &originals, MESSAGE_LIMIT - body.len());
    (reason, Message { body, attributes })
}

/// Attributes without card numbers; of names that are one then, one is kept.
fn masked(attributes: &Attributes, t: EventTime) -> Attributes {
    let mask = |(name, value)| (mask_text(name), masked_value(name, value, t));
    let is_clean = |pair| matches!(mask(pair), (Cow::Borrowed(_), Cow::Borrowed(_)));
    if attributes.iter().all(is_clean) {
        return attributes.clone();
    }
    let mut masked: Vec<_> = attributes.iter().map(mask).collect();
    masked.sort();
    masked.dedup_by(|(name, _), (kept, _)| name == kept);
    masked.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

fn masked_value<'v>(name: &str, value: &'v str, t: EventTime) -> Cow<'v, str> {
    match name {
        // Too late a time to be believed: T says the same.
        "event_time_us" if matches!(mask_text(value), Cow::Owned(_)) => t.micros().to_string().into(),
        _ => screen::attribute(name, value),
    }
}

/// The body, cut only where even a bare dead letter would be larger than Pub/Sub takes.
fn fitting_body(body: Bytes, mut say: impl FnMut(&'static str, Text)) -> Bytes {
    let room = MESSAGE_LIMIT - ATTRIBUTE_LIMIT * (NAME_LIMIT + VALUE_LIMIT) / 4;
    if body.len() <= room {
        return body;
    }
    say("dlq_body_length", body.len().to_string().into());
    say("dlq_body_sha256", sha256(&body).into());
    body.slice(..room)
}

/// Adds the original's attributes as they were, as far as they fit: [`FIRST_ORIGINALS`] first.
fn with_originals(mut own: Vec<(Text, Text)>, originals: &Attributes, room: usize) -> Attributes {
    let mut wanted: Vec<(&str, &str)> =
        originals.iter().filter(|(name, _)| !name.starts_with("goog")).collect();
    wanted.sort_by_key(|(name, _)| {
        FIRST_ORIGINALS.iter().position(|first| first == name).unwrap_or(usize::MAX)
    });
    let mut left = room.saturating_sub(own.iter().map(|(name, value)| name.len() + value.len()).sum());
    let mut dropped = 0usize;
    for (name, value) in wanted {
        let fits = own.len() < ATTRIBUTE_LIMIT - 1
            && name.len() <= NAME_LIMIT
            && value.len() <= VALUE_LIMIT
            && name.len() + value.len() <= left;
        if name.is_empty() || is_own(name) || !fits {
            dropped += 1;
            continue;
        }
        left -= name.len() + value.len();
        own.push((name.to_owned().into(), value.to_owned().into()));
    }
    if dropped > 0 {
        own.push(("dlq_attributes_dropped".into(), dropped.to_string().into()));
    }
    own.into()
}

/// T of a message on the dead-letter subscription: its origin's.
pub fn event_time(received: &ReceivedMessage) -> EventTime {
    let attribute = |name| received.message.attributes.get(name);
    EventTime::of(&Stamp::dead_letter(
        received.publish_time_us,
        &received.id,
        attribute("dlq_published_at").and_then(micros),
        attribute("dlq_source_message_id"),
        attribute("event_time_us"),
    ))
}

/// The dead letter a message on the dead-letter subscription is. Total: what somebody else published
/// there becomes a dead letter too, judged by its body, and masked where nobody did.
pub fn decode(received: &ReceivedMessage) -> DeadLetter {
    let message = &received.message;
    let attribute = |name| message.attributes.get(name);
    let kind = attribute("dlq_kind").and_then(EventKind::parse).unwrap_or(EventKind::Payment);
    let t = event_time(received);
    let attributes = masked(&message.attributes, t);
    let told = attribute("dlq_reason").and_then(Reason::parse).map(|reason| Rejection {
        reason,
        detail: attributes.get("dlq_detail").unwrap_or_default().to_owned(),
        order_id: attribute("order_id").and_then(id).map(OrderId),
        payment_id: attribute("payment_id").and_then(id),
    });
    let screened = screen(&message.body);
    let rejection = match (&screened, told) {
        (Screened::Clean(_), Some(told)) => told,
        (Screened::Clean(_), None) | (Screened::Masked { .. }, _) => {
            judged_by_body(event::read(kind, &message.body), &screened)
        }
    };
    let sent = screened.into_bytes();
    let mut body = StoredBody::keep(&sent);
    if let (Some(length), Some(digest)) = (attribute("dlq_body_length"), attributes.get("dlq_body_sha256")) {
        body.length = length.parse().unwrap_or(body.length);
        body.sha256 = Some(digest.to_owned());
    }
    DeadLetter {
        id: DeadLetterId::of(kind, t, &sent),
        kind,
        t,
        body,
        attributes,
        reason: rejection.reason,
        detail: rejection.detail,
        order_id: rejection.order_id,
        payment_id: rejection.payment_id,
        first_failed_at: attribute("dlq_first_failed_at")
            .and_then(micros)
            .unwrap_or(received.publish_time_us),
        corrects: attribute("dlq_corrects").and_then(DeadLetterId::parse),
    }
}

/// The rejection of a message that came without a reason, or with a card number, by its body alone.
fn judged_by_body(event: Result<Event<'_>, Rejection>, screened: &Screened<'_>) -> Rejection {
    match (event, screened) {
        (event, Screened::Masked { detail, .. }) => event::exposed(detail.clone(), event),
        (Err(rejection), Screened::Clean(_)) => rejection,
        (Ok(event), Screened::Clean(_)) => Rejection {
            reason: Reason::OrderNotFound,
            detail: "published on the dead-letter topic without a reason".to_owned(),
            order_id: Some(event.order_id()),
            payment_id: event.payment_id(),
        },
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

    fn received(body: &'static [u8], attributes: Attributes) -> ReceivedMessage {
        ReceivedMessage {
            message: Message { body: Bytes::from_static(body), attributes },
            id: "4711".into(),
            publish_time_us: PUBLISHED,
            attempt: 0,
        }
    }

    fn failure() -> Failure<'static> {
        Failure {
            reason: Reason::OrderNotFound,
            detail: "order 7 is not in the table",
            kind: EventKind::Payment,
            source_subscription: "payments_data-sub",
            order_id: Some(OrderId(7)),
            payment_id: Some(1007),
            failed_at: PUBLISHED + 2_000_000,
        }
    }

    fn dead(source: &ReceivedMessage, failure: &Failure<'_>) -> Message {
        encode(source, screen(&source.message.body), failure).1
    }

    fn arrived(message: Message) -> ReceivedMessage {
        ReceivedMessage { message, id: "99".into(), publish_time_us: PUBLISHED + 3_000_000, attempt: 1 }
    }

    #[test]
    fn a_dead_letter_keeps_body_event_time_and_t() {
        let attributes = Attributes::from_iter([("event_time_us", "1705831290000001"), ("tenant", "a")]);
        let source = received(b"\xff{", attributes);
        let dead_letter = decode(&arrived(dead(&source, &failure())));
        assert_eq!(dead_letter.body.bytes, source.message.body);
        assert_eq!(dead_letter.t.micros(), 1_705_831_290_000_001);
        assert_eq!(dead_letter.reason, Reason::OrderNotFound);
        assert_eq!((dead_letter.order_id, dead_letter.payment_id), (Some(OrderId(7)), Some(1007)));
        assert_eq!(dead_letter.first_failed_at, PUBLISHED + 2_000_000);
        assert_eq!(dead_letter.attributes.get("tenant"), Some("a"));
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let mut attributes: Attributes = (0..120).map(|n| (format!("a{n:03}"), "v")).collect();
        attributes.insert("big", "x".repeat(5_000));
        attributes.insert("googclient_x", "y");
        attributes.insert("dlq_reason", "undecodable");
        attributes.insert("event_id", "e");
        attributes.insert("traceparent", "00-ab-cd-01");
        let message = dead(&received(b"{}", attributes), &failure());
        assert!(message.attributes.len() <= ATTRIBUTE_LIMIT);
        assert_eq!(message.attributes.get("dlq_reason"), Some("order_not_found"));
        assert_eq!(message.attributes.get("event_id"), Some("e"));
        assert_eq!(message.attributes.get("traceparent"), Some("00-ab-cd-01"));
        assert_eq!(message.attributes.get("googclient_x"), None);
        let kept = message.attributes.iter().filter(|(name, _)| name.starts_with('a')).count();
        let dropped: usize =
            message.attributes.get("dlq_attributes_dropped").expect("some").parse().expect("number");
        assert_eq!(dropped, 120 - kept + 2);
    }

    #[test]
    fn a_body_as_large_as_a_request_still_fits_with_length_and_hash() {
        let body = Bytes::from(vec![b'x'; 10_000_000]);
        let source = ReceivedMessage {
            message: Message { body, ..Message::default() },
            ..received(b"", Attributes::new())
        };
        let message = dead(&source, &failure());
        let size: usize = message.attributes.iter().map(|(n, v)| n.len() + v.len()).sum();
        assert!(message.body.len() + size <= MESSAGE_LIMIT);
        let dead_letter = decode(&arrived(message));
        assert_eq!(dead_letter.body.length, 10_000_000);
        assert!(!dead_letter.body.is_whole());
    }

    #[test]
    fn a_message_without_attributes_on_the_dead_letter_topic_is_judged_by_its_body() {
        let dead_letter = decode(&received(b"not json", Attributes::new()));
        assert_eq!(dead_letter.reason, Reason::Undecodable);
        assert_eq!(dead_letter.kind, EventKind::Payment);
    }

    const WITH_CARD: &[u8] =
        br#"{"payment_id":1007,"order_id":7,"payment_method":"card 4111 1111 1111 1111","payment_status":"Completed","payment_datetime":"2024-01-21"}"#;

    #[test]
    fn a_body_with_a_card_number_leaves_masked_whatever_failed() {
        for reason in Reason::ALL {
            let source = received(WITH_CARD, Attributes::new());
            let (given, message) =
                encode(&source, screen(&source.message.body), &Failure { reason, ..failure() });
            assert_eq!(given, Reason::PanDetected);
            let text = String::from_utf8_lossy(&message.body).into_owned();
            assert_eq!(text.len(), WITH_CARD.len());
            assert!(text.contains("\"card **** **** **** 1111\"") && !text.contains("4111"), "{text}");
            let dead_letter = decode(&arrived(message.clone()));
            assert_eq!(
                (dead_letter.reason, dead_letter.body.bytes),
                (Reason::PanDetected, message.body.clone())
            );
            assert_eq!(dead_letter.detail, "payment_method: a full card number (Visa, 16 digits)");
            assert_eq!((dead_letter.order_id, dead_letter.payment_id), (Some(OrderId(7)), Some(1007)));
            assert_eq!(
                dead_letter.id,
                DeadLetterId::of(EventKind::Payment, source.event_time(), &message.body)
            );
        }
    }

    #[test]
    fn a_body_that_nobody_masked_is_masked_before_it_is_a_dead_letter() {
        for reason in [None, Some("order_not_found"), Some("pan_detected"), Some("nonsense")] {
            let mut attributes = Attributes::from_iter([("dlq_detail", "saw 5555 5555 5555 4444")]);
            if let Some(reason) = reason {
                attributes.insert("dlq_reason", reason);
            }
            let dead_letter = decode(&received(WITH_CARD, attributes));
            let attributes: Vec<_> = dead_letter.attributes.iter().collect();
            let told = format!(
                "{dead_letter:?} {attributes:?} {}",
                String::from_utf8_lossy(&dead_letter.body.bytes)
            );
            assert_eq!(dead_letter.reason, Reason::PanDetected);
            assert_eq!((dead_letter.order_id, dead_letter.payment_id), (Some(OrderId(7)), Some(1007)));
            assert!(told.contains("**** **** **** 1111") && !told.contains("4111") && !told.contains("5555"));
            assert_eq!(
                dead_letter.id,
                DeadLetterId::of(EventKind::Payment, dead_letter.t, &dead_letter.body.bytes)
            );
        }
    }

    #[test]
    fn attributes_leave_without_card_numbers_and_t_stays() {
        let card = "4111111111111111";
        let far_future = Attributes::from_iter([
            ("event_time_us", card),
            ("note", "paid with 4111-1111-1111-1111"),
            (card, "as a name"),
            ("order_id", card),
            ("dlq_corrects", card),
            ("tenant", "a"),
        ]);
        let source = received(b"{", far_future.clone());
        let message = dead(&source, &failure());
        let dead_letter = decode(&arrived(message.clone()));
        assert_eq!(dead_letter.t, source.event_time());
        for attributes in [message.attributes, dead_letter.attributes] {
            let shown = format!("{:?}", attributes.iter().collect::<Vec<_>>());
            assert!(!shown.contains("4111"), "{shown}");
            assert_eq!(attributes.get("note"), Some("paid with ****-****-****-1111"));
            assert_eq!(attributes.get("************1111"), Some("as a name"));
            assert_eq!(attributes.get("tenant"), Some("a"));
            assert_eq!(attributes.get("order_id"), Some("7"), "ours");
        }
        let foreign = decode(&received(b"{", far_future));
        let t = EventTime::of(&Stamp::dead_letter(PUBLISHED, "4711", None, None, Some(card)));
        assert_eq!(foreign.t, t);
        assert_eq!(foreign.attributes.get("event_time_us"), Some(&*t.micros().to_string()));
        assert_eq!(foreign.attributes.get("order_id"), Some(card), "an id is a number");
    }

    #[test]
    fn ids_of_the_bus_are_no_card_numbers() {
        let source = ReceivedMessage { id: "4111111111111111".into(), ..received(b"{", Attributes::new()) };
        let dead_letter = decode(&arrived(dead(&source, &failure())));
        assert_eq!(dead_letter.t, source.event_time());
        assert_eq!(dead_letter.attributes.get("dlq_source_message_id"), Some(&*source.id));
    }

    proptest! {
        #[test]
        fn the_envelope_survives_the_hop(body in proptest::collection::vec(any::<u8>(), 0..300), names in proptest::collection::btree_map("[a-z_]{1,12}", ".{0,40}", 0..20), claimed in proptest::option::of(1i64..2_000_000_000_000_000), id in "[0-9]{1,18}", detail in ".{0,2000}") {
            let mut attributes: Attributes = names.clone().into_iter().collect();
            if let Some(claimed) = claimed { attributes.insert("event_time_us", claimed.to_string()); }
            let source = ReceivedMessage { message: Message { body: Bytes::from(body), attributes: attributes.clone() }, id: id.clone(), publish_time_us: PUBLISHED, attempt: 3 };
            let event_time = attributes.get("event_time_us");
            let t = EventTime::of(&Stamp::source(PUBLISHED, &id, event_time));
            let dead_letter = decode(&arrived(dead(&source, &Failure { detail: &detail, ..failure() })));
            prop_assert_eq!(dead_letter.t, t);
            prop_assert_eq!(&dead_letter.body.bytes, &source.message.body);
            prop_assert!(dead_letter.detail.len() <= VALUE_LIMIT && detail.starts_with(&dead_letter.detail));
            for (name, value) in names.iter().filter(|(name, _)| !OWN.contains(&name.as_str()) && !name.starts_with("goog") && *name != "event_time_us") {
                prop_assert_eq!(dead_letter.attributes.get(name), Some(&**value), "{}", name);
            }
        }
    }
}
