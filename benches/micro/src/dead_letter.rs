//! A dead letter, from the message that failed to the dead letter of the dead-letter store.

use std::hint::black_box;

use ecom_bus::ReceivedMessage;
use ecom_codec::envelope::{self, Failure};
use ecom_codec::screen::screen;
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;

use crate::events::Events;
use crate::path::Work;

/// Screens and encodes as a consumer does, decodes as the dead letters' handler does.
pub fn there_and_back(events: usize) -> Work {
    let payments = Events::payments();
    let failure = Failure {
        reason: Reason::OrderNotFound,
        detail: "order 100007 is not in the fact table",
        kind: EventKind::Payment,
        source_subscription: "payments_data-sub",
        order_id: Some(OrderId(100_007)),
        payment_id: Some(200_007),
        failed_at: 1_705_831_291_000_000,
    };
    Box::new(move || {
        for received in payments.take(events) {
            let body = screen(&received.message.body);
            let (_, message) = envelope::encode(received, body, &failure);
            let publish_time_us = received.publish_time_us + 20_000;
            let dead_letter = ReceivedMessage { message, id: String::new(), publish_time_us, attempt: 1 };
            black_box(envelope::decode(black_box(&dead_letter)));
        }
    })
}
