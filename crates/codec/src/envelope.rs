//! The dead-letter envelope: a message on the dead-letter topic has the original's body byte for byte, and
//! everything else in attributes. Card numbers are masked on publishing, and again on receipt in case another
//! publisher did not mask them.
//!
//! `dlq_*` attributes are trusted on the dead-letter subscription only.

use std::borrow::Cow;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};

use crate::event::{self, Event};
use crate::json;
use crate::rejection::Rejection;
use crate::screen::{self, ScreenedBody, is_sha256, screen};
use ecom_bus::{Message, ReceivedMessage};
use ecom_card_numbers::mask_text;
use ecom_domain::attributes::{Attributes, Text};
use ecom_domain::calendar::{DATED, date_time};
use ecom_domain::dead_letter::{DeadLetter, DeadLetterId, EventKind, StoredBody, sha256};
use ecom_domain::event_time::{EventTime, FUTURE_BOUND_US, Stamp};
use ecom_domain::mutant::{Mutant, is_active};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;

/// The maximum number of attributes of a Pub/Sub message.
const ATTRIBUTE_LIMIT: usize = 100;
/// The maximum size of an attribute's name in Pub/Sub, in bytes.
const NAME_LIMIT: usize = 256;
/// The maximum size of an attribute's value in Pub/Sub, in bytes.
const VALUE_LIMIT: usize = 1_024;
/// The maximum size of body and attributes, in bytes: what Pub/Sub accepts in one request, less the request's
/// own overhead.
const MESSAGE_LIMIT: usize = 10_000_000 - 64 * 1_024;
/// The value of `dlq_consumer_version`.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Attributes of the original that are kept before all others: its event time, its event id and its trace.
const FIRST_ORIGINALS: [&str; 3] = ["event_time_us", "event_id", "traceparent"];
/// The names of the attributes that this module sets.
const ENVELOPE_ATTRIBUTES: [&str; 14] = [
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
    SOURCE_SUBSCRIPTION,
    "order_id",
    "payment_id",
];

/// Those of them that every dead letter of a consumer has.
const ALWAYS_SET: [&str; 9] = [
    "dlq_attempt",
    "dlq_consumer_version",
    "dlq_detail",
    "dlq_first_failed_at",
    "dlq_kind",
    "dlq_published_at",
    "dlq_reason",
    "dlq_source_message_id",
    SOURCE_SUBSCRIPTION,
];

/// The attribute with the short name of the subscription that a dead letter comes from.
pub const SOURCE_SUBSCRIPTION: &str = "dlq_source_subscription";

/// The failure that a delivery is dead-lettered for.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryFailure<'f> {
    /// The reason.
    pub reason: Reason,
    /// Field and cause; truncated to 1 KiB.
    pub detail: &'f str,
    /// The kind of event that the source subscription carries.
    pub kind: EventKind,
    /// The short name of the source subscription.
    pub source_subscription: &'f str,
    /// The order id, if it could be read.
    pub order_id: Option<OrderId>,
    /// The payment id, if it could be read.
    pub payment_id: Option<i64>,
    /// The time of the failure, in microseconds since the epoch.
    pub failed_at: i64,
}

/// Returns the dead letter of a failed delivery, and its reason: `pan_detected` if the body was masked, else
/// the reason of the failure.
///
/// The message never exceeds the limits of Pub/Sub. Original attributes that do not fit are dropped and
/// counted in `dlq_attributes_dropped`; a body too large for a request is truncated, with its length and
/// SHA-256 in attributes.
pub fn encode(
    received: &ReceivedMessage,
    body: ScreenedBody<'_>,
    failure: &DeliveryFailure<'_>,
) -> (Reason, Message) {
    let (reason, detail) = match &body {
        ScreenedBody::Clean(_) => (failure.reason, failure.detail),
        ScreenedBody::Masked { detail, .. } => (Reason::PanDetected, detail.as_str()),
    };
    let originals = masked(&received.message.attributes, received.event_time());
    let mut envelope: Vec<(Text, Text)> = Vec::with_capacity(ENVELOPE_ATTRIBUTES.len() + originals.len());
    let mut set = |name: &'static str, value: Text| envelope.push((name.into(), value));
    set("dlq_attempt", received.attempt.max(1).to_string().into());
    set("dlq_consumer_version", VERSION.into());
    set("dlq_detail", truncated(detail, VALUE_LIMIT).to_owned().into());
    set("dlq_first_failed_at", rfc3339(failure.failed_at).into());
    set("dlq_kind", failure.kind.as_str().into());
    set("dlq_published_at", rfc3339(received.publish_time_us).into());
    set("dlq_reason", reason.as_str().into());
    set("dlq_source_message_id", truncated(&received.id, VALUE_LIMIT).to_owned().into());
    set(SOURCE_SUBSCRIPTION, truncated(failure.source_subscription, VALUE_LIMIT).to_owned().into());
    let given = (failure.order_id, failure.payment_id);
    let (order_id, payment_id) = or_of_body(given, failure.kind, &received.message.body);
    if let Some(order_id) = order_id {
        set("order_id", order_id.to_string().into());
    }
    if let Some(payment_id) = payment_id {
        set("payment_id", payment_id.to_string().into());
    }
    let body = fitting_body(body.into_bytes(), set);
    let attributes = with_originals(envelope, &originals, MESSAGE_LIMIT - body.len());
    (reason, Message { body, attributes })
}

/// Masks card numbers in attributes. Of names that become equal by masking, one is kept.
fn masked(attributes: &Attributes, t: EventTime) -> Attributes {
    let mask = |(name, value)| (mask_text(name), masked_value(attributes, name, value, t));
    let is_clean = |pair| matches!(mask(pair), (Cow::Borrowed(_), Cow::Borrowed(_)));
    if attributes.iter().all(is_clean) {
        return attributes.clone();
    }
    let mut masked: Vec<_> = attributes.iter().map(mask).collect();
    masked.sort();
    masked.dedup_by(|(name, _), (kept, _)| name == kept);
    masked.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

fn masked_value<'v>(attributes: &Attributes, name: &str, value: &'v str, t: EventTime) -> Cow<'v, str> {
    match (name, screen::mask_attribute(name, value)) {
        // It is unusable, or later than is plausible: the event time stands for it.
        ("event_time_us", Cow::Owned(_)) => t.micros().to_string().into(),
        // The bus assigned it, and the event time is derived from it.
        ("dlq_source_message_id", Cow::Owned(_)) if is_message_id(value) && is_ours(attributes) => {
            value.into()
        }
        (_, masked) => masked,
    }
}

fn is_message_id(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether attributes are a whole dead-letter envelope, as a consumer makes it. Another publisher's message
/// on the dead-letter topic may have any of them, with any value.
fn is_ours(attributes: &Attributes) -> bool {
    ALWAYS_SET.iter().all(|name| attributes.get(name).is_some())
}

/// Returns the body, truncated only if it leaves no room for the envelope in a Pub/Sub request.
fn fitting_body(body: Bytes, mut set: impl FnMut(&'static str, Text)) -> Bytes {
    let room = MESSAGE_LIMIT - ATTRIBUTE_LIMIT * (NAME_LIMIT + VALUE_LIMIT) / 4;
    if body.len() <= room {
        return body;
    }
    set("dlq_body_length", body.len().to_string().into());
    set("dlq_body_sha256", sha256(&body).into());
    body.slice(..room)
}

/// Adds the original's attributes as far as they fit, [`FIRST_ORIGINALS`] first.
fn with_originals(mut envelope: Vec<(Text, Text)>, originals: &Attributes, room: usize) -> Attributes {
    let mut wanted: Vec<(&str, &str)> =
        originals.iter().filter(|(name, _)| !name.starts_with("goog")).collect();
    wanted.sort_by_key(|(name, _)| {
        FIRST_ORIGINALS.iter().position(|first| first == name).unwrap_or(usize::MAX)
    });
    let mut left = room.saturating_sub(envelope.iter().map(|(name, value)| name.len() + value.len()).sum());
    let mut dropped = 0usize;
    for (name, value) in wanted {
        let fits = envelope.len() < ATTRIBUTE_LIMIT - 1
            && name.len() <= NAME_LIMIT
            && value.len() <= VALUE_LIMIT
            && name.len() + value.len() <= left;
        if name.is_empty() || is_envelope_attribute(name) || !fits {
            dropped += 1;
            continue;
        }
        left -= name.len() + value.len();
        envelope.push((name.to_owned().into(), value.to_owned().into()));
    }
    if dropped > 0 {
        envelope.push(("dlq_attributes_dropped".into(), dropped.to_string().into()));
    }
    envelope.into()
}

/// Returns the event time of a message on the dead-letter subscription: that of the original message.
pub fn event_time(received: &ReceivedMessage) -> EventTime {
    let attribute = |name| received.message.attributes.get(name);
    if is_active(Mutant::OriginLost) {
        return received.event_time();
    }
    EventTime::of(&Stamp::dead_letter(
        received.publish_time_us,
        &received.id,
        attribute("dlq_published_at").and_then(parse_rfc3339),
        attribute("dlq_source_message_id"),
        attribute("event_time_us"),
    ))
}

/// Decodes a message on the dead-letter subscription. Never fails: a message that another publisher put there
/// becomes a dead letter with the reason its body gives, and with its card numbers masked.
pub fn decode(received: &ReceivedMessage) -> DeadLetter {
    let message = &received.message;
    let attribute = |name| message.attributes.get(name);
    let kind = attribute("dlq_kind").and_then(EventKind::parse).unwrap_or(EventKind::Payment);
    let t = event_time(received);
    let attributes = masked(&message.attributes, t);
    let given = attribute("dlq_reason").and_then(Reason::parse).map(|reason| {
        let detail = attributes.get("dlq_detail").unwrap_or_default().to_owned();
        let given = (attribute("order_id").and_then(id).map(OrderId), attribute("payment_id").and_then(id));
        let (order_id, payment_id) = or_of_body(given, kind, &message.body);
        Rejection { reason, detail, order_id, payment_id }
    });
    let screened = screen(&message.body);
    let rejection = match (&screened, given) {
        (ScreenedBody::Clean(_), Some(given)) => given,
        (ScreenedBody::Clean(_), None) | (ScreenedBody::Masked { .. }, _) => {
            rejection_of_body(event::read(kind, &message.body), &screened)
        }
    };
    let sent = screened.into_bytes();
    let mut body = StoredBody::keep(&sent);
    let length = attribute("dlq_body_length").and_then(id).and_then(|length| u64::try_from(length).ok());
    let digest = attribute("dlq_body_sha256").filter(|digest| is_sha256(digest));
    if let (Some(length), Some(digest)) = (length.filter(|length| *length > body.length), digest) {
        (body.length, body.sha256) = (length, Some(digest.to_owned()));
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
            .and_then(parse_rfc3339)
            .filter(|failed| *failed <= received.publish_time_us.saturating_add(FUTURE_BOUND_US))
            .unwrap_or(received.publish_time_us),
        corrects: attribute("dlq_corrects").and_then(DeadLetterId::parse),
    }
}

/// Returns the given ids; in place of one that is missing, that of the body, whatever the body is.
fn or_of_body(
    (order_id, payment_id): (Option<OrderId>, Option<i64>),
    kind: EventKind,
    body: &[u8],
) -> (Option<OrderId>, Option<i64>) {
    if order_id.is_some() && (payment_id.is_some() || kind == EventKind::Order) {
        return (order_id, payment_id);
    }
    let (of_body, payment_of_body) = json::ids(kind, body);
    (order_id.or(of_body), payment_id.or(payment_of_body))
}

/// Returns the rejection of a message without a usable reason, or with a card number, from its body alone.
fn rejection_of_body(event: Result<Event<'_>, Rejection>, screened: &ScreenedBody<'_>) -> Rejection {
    match (event, screened) {
        (event, ScreenedBody::Masked { detail, .. }) => event::pan_detected(detail.clone(), event),
        (Err(rejection), ScreenedBody::Clean(_)) => rejection,
        (Ok(event), ScreenedBody::Clean(_)) => Rejection {
            reason: Reason::OrderNotFound,
            detail: "published on the dead-letter topic without a reason".to_owned(),
            order_id: Some(event.order_id()),
            payment_id: event.payment_id(),
        },
    }
}

/// Returns whether this module sets the attribute. All other attributes are the original's.
pub(crate) fn is_envelope_attribute(name: &str) -> bool {
    ENVELOPE_ATTRIBUTES.contains(&name)
}

/// Formats microseconds since the epoch as RFC 3339, in UTC with six decimals. A time outside of the years 1970
/// to 9999 is shown as the nearest one in them.
pub fn rfc3339(micros: i64) -> String {
    date_time(micros).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Parses a time of the years 1970 to 9999, to microseconds since the epoch.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(time.timestamp_micros()).filter(|micros| DATED.contains(micros))
}

fn id(text: &str) -> Option<i64> {
    text.parse().ok().filter(|id| *id > 0)
}

/// Returns the longest prefix of `text` with at most `limit` bytes.
fn truncated(text: &str, limit: usize) -> &str {
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

    fn failure() -> DeliveryFailure<'static> {
        DeliveryFailure {
            reason: Reason::OrderNotFound,
            detail: "order 7 is not in the table",
            kind: EventKind::Payment,
            source_subscription: "payments_data-sub",
            order_id: Some(OrderId(7)),
            payment_id: Some(1007),
            failed_at: PUBLISHED + 2_000_000,
        }
    }

    fn dead(source: &ReceivedMessage, failure: &DeliveryFailure<'_>) -> Message {
        encode(source, screen(&source.message.body), failure).1
    }

    fn arrived(message: Message) -> ReceivedMessage {
        ReceivedMessage { message, id: "99".into(), publish_time_us: PUBLISHED + 3_000_000, attempt: 1 }
    }

    #[test]
    fn a_dead_letter_keeps_body_attributes_ids_and_event_time() {
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
    fn times_outside_of_the_years_1970_to_9999_are_unusable() {
        for time in [
            "0000-01-01T00:00:00+23:59",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999Z",
            "9999-12-31T23:59:59-23:59",
            "2024-01-21",
            "soon",
        ] {
            let attributes = Attributes::from_iter([
                ("dlq_reason", "order_not_found"),
                ("dlq_published_at", time),
                ("dlq_first_failed_at", time),
            ]);
            let foreign = received(b"{", attributes);
            let dead_letter = decode(&foreign);
            assert_eq!(dead_letter.t, foreign.event_time(), "{time}");
            assert_eq!(dead_letter.first_failed_at, PUBLISHED, "{time}");
            assert_eq!(DeadLetterId::parse(dead_letter.id.as_str()), Some(dead_letter.id), "{time}");
        }
    }

    #[test]
    fn a_first_failure_after_the_publish_time_is_unusable_for_it_would_wait_for_ever() {
        let attributes = Attributes::from_iter([("dlq_first_failed_at", "9999-01-01T00:00:00Z")]);
        assert_eq!(decode(&received(b"{", attributes)).first_failed_at, PUBLISHED);
    }

    #[test]
    fn a_length_or_hash_that_no_body_has_is_unusable() {
        let hash: &'static str = "0000000000000000000000000000000000000000000000000000000000000000";
        for (length, hash) in [("18446744073709551615", hash), ("0", hash), ("-1", hash), ("9", "x")] {
            let attributes = Attributes::from_iter([("dlq_body_length", length), ("dlq_body_sha256", hash)]);
            let body = decode(&received(b"{}", attributes)).body;
            assert_eq!((body.length, body.is_whole()), (2, true), "{length} {hash}");
        }
    }

    #[test]
    fn the_message_id_of_another_publisher_is_masked_and_keeps_its_event_time() {
        for id in ["4111111111111111", "4111 1111 1111 1111", "card/4111-1111-1111-1111"] {
            let attributes = Attributes::from_iter([("dlq_source_message_id", id)]);
            let foreign = received(b"{", attributes);
            let dead_letter = decode(&foreign);
            assert_eq!(dead_letter.t, EventTime::of(&Stamp::source(PUBLISHED, id, None)), "{id}");
            let stored = dead_letter.attributes.get("dlq_source_message_id").expect("kept");
            assert!(
                !stored.contains("4111") && stored.ends_with("1111") && stored.len() == id.len(),
                "{stored}"
            );
        }
    }

    #[test]
    fn a_dead_letter_without_ids_gets_those_of_its_body() {
        let body = br#"{"payment_id":1007,"order_id":7,"payment_method":"\ud800"}"#;
        let ids = |dead_letter: DeadLetter| (dead_letter.order_id, dead_letter.payment_id);
        let of_body = (Some(OrderId(7)), Some(1007));
        let reason = Attributes::from_iter([("dlq_reason", "handler_failed"), ("order_id", "soon")]);
        assert_eq!(ids(decode(&received(body, reason))), of_body, "another publisher's");
        let failure = DeliveryFailure { order_id: None, payment_id: None, ..failure() };
        let message = dead(&received(body, Attributes::new()), &failure);
        assert_eq!(
            (message.attributes.get("order_id"), message.attributes.get("payment_id")),
            (Some("7"), Some("1007"))
        );
        assert_eq!(ids(decode(&arrived(message))), of_body);
    }

    #[test]
    fn attributes_that_do_not_fit_are_dropped_and_counted() {
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
        assert_eq!(dead_letter.body.sha256, Some(sha256(&source.message.body)));
    }

    #[test]
    fn a_message_without_attributes_on_the_dead_letter_topic_gets_the_reason_of_its_body() {
        let dead_letter = decode(&received(b"not json", Attributes::new()));
        assert_eq!(dead_letter.reason, Reason::Undecodable);
        assert_eq!(dead_letter.kind, EventKind::Payment);
    }

    const WITH_CARD: &[u8] =
        br#"{"payment_id":1007,"order_id":7,"payment_method":"card 4111 1111 1111 1111","payment_status":"Completed","payment_datetime":"2024-01-21"}"#;

    #[test]
    fn a_body_with_a_card_number_is_masked_for_every_reason() {
        for reason in Reason::ALL {
            let source = received(WITH_CARD, Attributes::new());
            let (given, message) =
                encode(&source, screen(&source.message.body), &DeliveryFailure { reason, ..failure() });
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
    fn an_unmasked_body_on_the_dead_letter_topic_is_masked_on_receipt() {
        for reason in [None, Some("order_not_found"), Some("pan_detected"), Some("nonsense")] {
            let mut attributes = Attributes::from_iter([("dlq_detail", "saw 5555 5555 5555 4444")]);
            if let Some(reason) = reason {
                attributes.insert("dlq_reason", reason);
            }
            let dead_letter = decode(&received(WITH_CARD, attributes));
            let attributes: Vec<_> = dead_letter.attributes.iter().collect();
            let shown = format!(
                "{dead_letter:?} {attributes:?} {}",
                String::from_utf8_lossy(&dead_letter.body.bytes)
            );
            assert_eq!(dead_letter.reason, Reason::PanDetected);
            assert_eq!((dead_letter.order_id, dead_letter.payment_id), (Some(OrderId(7)), Some(1007)));
            assert!(
                shown.contains("**** **** **** 1111") && !shown.contains("4111") && !shown.contains("5555")
            );
            assert_eq!(
                dead_letter.id,
                DeadLetterId::of(EventKind::Payment, dead_letter.t, &dead_letter.body.bytes)
            );
        }
    }

    #[test]
    fn attributes_are_masked_and_the_event_time_stays() {
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
            assert_eq!(attributes.get("order_id"), Some("7"), "the envelope's");
        }
        let foreign = decode(&received(b"{", far_future));
        let t = EventTime::of(&Stamp::dead_letter(PUBLISHED, "4711", None, None, Some(card)));
        assert_eq!(foreign.t, t);
        assert_eq!(foreign.attributes.get("event_time_us"), Some(&*t.micros().to_string()));
        assert_eq!(foreign.attributes.get("order_id"), Some(card), "a number is an id");
    }

    #[test]
    fn message_ids_are_never_masked() {
        let source = ReceivedMessage { id: "4111111111111111".into(), ..received(b"{", Attributes::new()) };
        let dead_letter = decode(&arrived(dead(&source, &failure())));
        assert_eq!(dead_letter.t, source.event_time());
        assert_eq!(dead_letter.attributes.get("dlq_source_message_id"), Some(&*source.id));
    }

    proptest! {
        #[test]
        fn any_time_is_formatted_as_a_time_that_is_read(at in any::<i64>(), bits in 0u32..63) {
            let (first, last) = (0, 253_402_300_799_999_999);
            let at = at >> bits;
            prop_assert_eq!(parse_rfc3339(&rfc3339(at)), Some(at.clamp(first, last)));
        }

        #[test]
        fn the_envelope_survives_the_hop(body in proptest::collection::vec(any::<u8>(), 0..300), names in proptest::collection::btree_map("[a-z_]{1,12}", ".{0,40}", 0..20), claimed in proptest::option::of(1i64..2_000_000_000_000_000), id in "[0-9]{1,18}", detail in ".{0,2000}") {
            let mut attributes: Attributes = names.clone().into_iter().collect();
            if let Some(claimed) = claimed { attributes.insert("event_time_us", claimed.to_string()); }
            let source = ReceivedMessage { message: Message { body: Bytes::from(body), attributes: attributes.clone() }, id: id.clone(), publish_time_us: PUBLISHED, attempt: 3 };
            let event_time = attributes.get("event_time_us");
            let t = EventTime::of(&Stamp::source(PUBLISHED, &id, event_time));
            let dead_letter = decode(&arrived(dead(&source, &DeliveryFailure { detail: &detail, ..failure() })));
            prop_assert_eq!(dead_letter.t, t);
            prop_assert_eq!(&dead_letter.body.bytes, &source.message.body);
            prop_assert!(dead_letter.detail.len() <= VALUE_LIMIT && detail.starts_with(&dead_letter.detail));
            for (name, value) in names.iter().filter(|(name, _)| !ENVELOPE_ATTRIBUTES.contains(&name.as_str()) && !name.starts_with("goog") && *name != "event_time_us") {
                prop_assert_eq!(dead_letter.attributes.get(name), Some(&**value), "{}", name);
            }
        }
    }
}
