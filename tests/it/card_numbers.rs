//! Card numbers by the thousand, made and spelt by rules of their own: none may pass; and numbers
//! that only look alike, of which next to none may be taken for one.

mod look_alikes;
pub mod made;

use std::collections::BTreeMap;

use bytes::Bytes;
use ecom_bus::{Message, ReceivedMessage};
use ecom_codec::envelope::{Failure, decode, encode};
use ecom_codec::json;
use ecom_codec::screen::{card_numbers, screen};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::reason::Reason;

use look_alikes::{LOOK_ALIKES, look_alike};
use made::{Exposed, Numbers, Place, exposed};

/// How many of each.
const COUNT: usize = 10_000;

fn received(exposed: &Exposed) -> ReceivedMessage {
    ReceivedMessage {
        message: Message { body: exposed.body.clone(), attributes: exposed.attributes.clone() },
        id: "17".into(),
        publish_time_us: 1_705_831_290_123_456,
        attempt: 1,
    }
}

/// The dead letter of a message, as the consumer publishes it.
fn dead(exposed: &Exposed, reason: Reason) -> Message {
    let received = received(exposed);
    let failure = Failure {
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

/// Everything of a message that others can read.
fn told(message: &Message) -> Vec<u8> {
    let mut told = message.body.to_vec();
    for (name, value) in message.attributes.iter() {
        told.extend_from_slice(format!("|{name}|{value}|").as_bytes());
    }
    told
}

#[test]
fn of_10_000_card_numbers_in_every_field_and_form_none_leaves_the_consumer() {
    let all: Vec<Exposed> = (0..COUNT).map(|nth| exposed(nth, 1)).collect();
    let numbers = Numbers::of(&all);
    assert!(numbers.len() > COUNT * 99 / 100, "all kinds of numbers, not one");
    let mut forms = BTreeMap::<_, usize>::new();
    for exposed in &all {
        assert!(numbers.are_in(&told(&received(exposed).message)), "the test finds its own: {exposed:?}");
        let in_body = !exposed.place.is_attribute();
        let decoded = match exposed.kind {
            EventKind::Order => json::order(&exposed.body).map(drop),
            EventKind::Payment => json::payment(&exposed.body).map(drop),
        };
        if in_body {
            let rejection = decoded.expect_err("never an event");
            assert_eq!(rejection.reason, Reason::PanDetected, "{exposed:?}");
            assert!(!numbers.are_in(rejection.detail.as_bytes()));
        }
        let message = dead(exposed, Reason::HandlerFailed);
        assert!(!numbers.are_in(&told(&message)), "{exposed:?}");
        assert_eq!(message.body.len(), exposed.body.len());
        assert_eq!(message.attributes.get("dlq_reason") == Some("pan_detected"), in_body, "{exposed:?}");
        // What somebody else puts on the dead-letter topic is not masked yet.
        for message in [message, received(exposed).message] {
            let dead_letter = decode(&ReceivedMessage { message, ..received(exposed) });
            let dead_letter_told =
                Message { body: dead_letter.body.bytes, attributes: dead_letter.attributes };
            assert!(
                !numbers.are_in(&told(&dead_letter_told)) && !numbers.are_in(dead_letter.detail.as_bytes())
            );
        }
        *forms.entry((exposed.brand, exposed.place)).or_default() += 1;
    }
    assert_eq!(forms.len(), 6 * Place::ALL.len(), "every brand in every place");
    assert!(forms.values().all(|count| *count > 40), "{forms:?}");
}

#[test]
fn of_10_000_ids_and_phone_numbers_fewer_than_one_in_a_hundred_is_masked() {
    let mut masked = BTreeMap::<_, usize>::new();
    for nth in 0..COUNT {
        let (what, text) = look_alike(nth);
        let body = made::order_with("note", &format!("\"{text}\""), 1);
        if let Some(detail) = card_numbers(body.as_bytes()) {
            *masked.entry(what).or_default() += 1;
            assert!(detail.starts_with("an unknown field: "), "{text}: {detail}");
        }
    }
    let all: usize = masked.values().sum();
    println!("{all} of {COUNT} look-alikes of {} kinds masked: {masked:?}", LOOK_ALIKES.len());
    assert!(all * 100 < COUNT, "{all} of {COUNT}: {masked:?}");
}

#[test]
fn any_number_of_bytes_is_searched_in_one_pass() {
    let card = "4111 1111 1111 1111 ";
    for part in
        [card, "4", "4 ", "4-1 ", "41111 ", "\\u0034", "\\", "\u{ff14}", "4.1", "4.111111111E15 ", "+4 "]
    {
        let body = Bytes::from(part.repeat(200_000 / part.len()));
        let left = screen(&body).into_bytes();
        assert_eq!(card_numbers(&left), None, "{part:?}");
        assert_eq!(left.len(), body.len());
    }
}
