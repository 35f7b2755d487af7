//! Thousands of generated card numbers, none of which may leave a consumer, and thousands of look-alikes, of
//! which hardly any may be masked.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "nothing is outside of this binary")]

#[path = "card_numbers/exposed.rs"]
mod exposed;
#[path = "card_numbers/look_alikes.rs"]
mod look_alikes;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ecom_bus::{Message, ReceivedMessage};
use ecom_codec::envelope::{DeliveryFailure, decode, encode};
use ecom_codec::json;
use ecom_codec::screen::{card_numbers, screen};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::reason::Reason;

use exposed::{Exposed, Numbers, Place, exposed, order_with};
use look_alikes::{LOOK_ALIKES, look_alike};

/// The number of card numbers, and of look-alikes.
const COUNT: usize = 10_000;

fn received(exposed: &Exposed) -> ReceivedMessage {
    ReceivedMessage {
        message: Message { body: exposed.body.clone(), attributes: exposed.attributes.clone() },
        id: "17".into(),
        publish_time_us: 1_705_831_290_123_456,
        attempt: 1,
    }
}

/// Returns the dead letter of a message as a consumer publishes it.
fn dead_letter_of(exposed: &Exposed, reason: Reason) -> Message {
    let received = received(exposed);
    let failure = DeliveryFailure {
        reason,
        detail: "a test",
        kind: exposed.kind,
        source_subscription: "source-sub",
        order_id: None,
        payment_id: None,
        failed_at: received.publish_time_us,
    };
    encode(&received, screen(&received.message.body), &failure).1
}

/// Returns everything of a message that others can read.
fn visible(message: &Message) -> Vec<u8> {
    let mut visible = message.body.to_vec();
    for (name, value) in message.attributes.iter() {
        visible.extend_from_slice(format!("|{name}|{value}|").as_bytes());
    }
    visible
}

#[test]
fn none_of_10_000_card_numbers_in_every_place_and_spelling_leaves_the_consumer() {
    let all: Vec<Exposed> = (0..COUNT).map(|nth| exposed(nth, 1)).collect();
    let numbers = Numbers::of(&all);
    assert!(numbers.len() > COUNT * 99 / 100, "the generated numbers are distinct");
    let mut forms = BTreeMap::<_, usize>::new();
    for exposed in &all {
        assert!(
            numbers.are_in(&visible(&received(exposed).message)),
            "the test's own search finds it: {exposed:?}"
        );
        let in_body = !exposed.place.is_attribute();
        let decoded = match exposed.kind {
            EventKind::Order => json::order(&exposed.body).map(drop),
            EventKind::Payment => json::payment(&exposed.body).map(drop),
        };
        if in_body {
            let rejection = decoded.expect_err("not an event");
            assert_eq!(rejection.reason, Reason::PanDetected, "{exposed:?}");
            assert!(!numbers.are_in(rejection.detail.as_bytes()));
        }
        let message = dead_letter_of(exposed, Reason::HandlerFailed);
        assert!(!numbers.are_in(&visible(&message)), "{exposed:?}");
        assert_eq!(message.body.len(), exposed.body.len());
        assert_eq!(message.attributes.get("dlq_reason") == Some("pan_detected"), in_body, "{exposed:?}");
        // Another publisher may put an unmasked message on the dead-letter topic.
        for message in [message, received(exposed).message] {
            let dead_letter = decode(&ReceivedMessage { message, ..received(exposed) });
            let stored = Message { body: dead_letter.body.bytes, attributes: dead_letter.attributes };
            assert!(!numbers.are_in(&visible(&stored)) && !numbers.are_in(dead_letter.detail.as_bytes()));
        }
        *forms.entry((exposed.brand, exposed.place)).or_default() += 1;
    }
    assert_eq!(forms.len(), 6 * Place::ALL.len(), "every brand in every place");
    assert!(forms.values().all(|count| *count > 40), "{forms:?}");
}

#[test]
fn fewer_than_one_in_a_hundred_of_10_000_ids_and_phone_numbers_is_masked() {
    let mut masked = BTreeMap::<_, usize>::new();
    for nth in 0..COUNT {
        let (kind, text) = look_alike(nth);
        let body = order_with("note", &format!("\"{text}\""), 1);
        if let Some(detail) = card_numbers(body.as_bytes()) {
            *masked.entry(kind).or_default() += 1;
            assert!(detail.starts_with("an unknown field: "), "{text}: {detail}");
        }
    }
    let all: usize = masked.values().sum();
    println!("{all} of {COUNT} look-alikes of {} kinds masked: {masked:?}", LOOK_ALIKES.len());
    assert!(all * 100 < COUNT, "{all} of {COUNT}: {masked:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "measures real time")]
fn any_number_of_bytes_is_searched_in_one_pass() {
    let card = "4111 1111 1111 1111 ";
    for part in
        [card, "4", "4 ", "4-1 ", "41111 ", "\\u0034", "\\", "\u{ff14}", "4.1", "4.111111111E15 ", "+4 "]
    {
        let body = Bytes::from(part.repeat(200_000 / part.len()));
        let started = SystemTime::now();
        let left = screen(&body).into_bytes();
        // A pass takes milliseconds; a pass from every byte would take minutes.
        assert!(started.elapsed().is_ok_and(|took| took < Duration::from_secs(20)), "{part:?}");
        assert_eq!(card_numbers(&left), None, "{part:?}");
        assert_eq!(left.len(), body.len());
    }
}
