//! The dead-letter envelope: a message goes through it with its body, T and ids; whatever else arrives on the
//! dead-letter topic is decoded, too.
#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use ecom_bus::{Attributes, Message, ReceivedMessage};
use ecom_codec::envelope::{self, DeliveryFailure};
use ecom_codec::screen::screen;
use ecom_domain::dead_letter::{DeadLetterId, EventKind};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    body: &'a [u8],
    attributes: Vec<(&'a str, &'a str)>,
    id: u64,
    published_us: u32,
    later_us: u32,
    detail: &'a str,
    order_id: Option<u32>,
    is_order: bool,
}

/// The number of attributes that Pub/Sub takes.
const ATTRIBUTES: usize = 100;
const EPOCH: i64 = 1_705_831_290_000_000;

fuzz_target!(|input: Input<'_>| {
    let kind = if input.is_order { EventKind::Order } else { EventKind::Payment };
    let attributes: Attributes =
        input.attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let body = Bytes::copy_from_slice(input.body);
    let publish_time_us = (EPOCH + i64::from(input.published_us)) / 1_000 * 1_000;
    let received = ReceivedMessage {
        message: Message { body: body.clone(), attributes },
        id: input.id.to_string(),
        publish_time_us,
        attempt: 1,
    };
    // As from another publisher.
    let foreign = envelope::decode(&received);
    assert_eq!(DeadLetterId::parse(foreign.id.as_str()), Some(foreign.id.clone()));
    assert!(foreign.detail.len() <= 1_024);

    let failure = DeliveryFailure {
        reason: Reason::Invalid,
        detail: input.detail,
        kind,
        source_subscription: "source-sub",
        order_id: input.order_id.map(|order| OrderId(i64::from(order) + 1)),
        payment_id: None,
        failed_at: publish_time_us + i64::from(input.later_us),
    };
    let (reason, message) = envelope::encode(&received, screen(&body), &failure);
    assert!(message.attributes.len() <= ATTRIBUTES, "{:?}", message.attributes);
    for (name, value) in message.attributes.iter() {
        assert!(!name.is_empty() && name.len() <= 256 && value.len() <= 1_024, "{name}: {value}");
    }
    let screened = screen(&body).into_bytes();
    if screened == body {
        assert_eq!(message.body, body);
    }
    let arrived = ReceivedMessage {
        message,
        id: "900".to_owned(),
        publish_time_us: publish_time_us + i64::from(input.later_us),
        attempt: 1,
    };
    let dead_letter = envelope::decode(&arrived);
    assert_eq!(dead_letter.t, received.event_time());
    assert_eq!(dead_letter.kind, kind);
    assert_eq!(dead_letter.reason, reason);
    assert_eq!(dead_letter.id, envelope::decode(&arrived).id);
    assert_eq!(DeadLetterId::parse(dead_letter.id.as_str()), Some(dead_letter.id));
});
