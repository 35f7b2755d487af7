//! The rules of a message, written down a second time and independently of the pipeline.

use ecom_bus::ReceivedMessage;
use ecom_codec::{envelope, json};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::OrderId;
use ecom_store::memory::Tables;

use crate::broker::Broker;

/// A payment card number that foreign publishers send, and that must be stored nowhere.
pub const CARD_NUMBER: &str = "4111111111111111";
/// The earliest event time that counts: 2000-01-01, in microseconds.
const EARLIEST: i64 = 946_684_800_000_000;
const MILLISECOND: i64 = 1_000;
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Returns T of a message on a source subscription, by the rule in docs/guarantees.md.
pub fn event_time(received: &ReceivedMessage) -> i64 {
    let base = received.publish_time_us / MILLISECOND * MILLISECOND;
    let bound = base + 5 * SECOND;
    let slot = received.id.parse::<i64>().expect("a simulated id is a number") % 1_000;
    let attribute = received.message.attributes.get("event_time_us");
    let digits = attribute.filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|text| text.parse::<i64>().ok()).filter(|claimed| *claimed >= EARLIEST) {
        None => base + slot,
        Some(claimed) if claimed <= bound => claimed,
        Some(claimed) if claimed - bound <= DAY => {
            let mut t = claimed;
            while t > bound {
                t -= 10 * SECOND;
            }
            t
        }
        Some(_) => bound - 999 + slot,
    }
}

/// Returns the topic's kind of event; `None` for the dead-letter topic.
pub fn kind_of(topic: &str) -> Option<EventKind> {
    match topic {
        "orders" => Some(EventKind::Order),
        "payments" => Some(EventKind::Payment),
        _ => None,
    }
}

/// Returns an error unless the effect of a message is there at the moment at which it is acked. Dead letters
/// may be gone again where `removes` says that resolved ones are removed.
pub fn effect_is_there(
    removes: bool,
    tables: &Tables,
    broker: &Broker,
    topic: &str,
    received: &ReceivedMessage,
) -> Result<(), String> {
    let Some(kind) = kind_of(topic) else {
        let id = envelope::decode(received).id;
        return if removes || tables.dead_letters.contains_key(&id) {
            Ok(())
        } else {
            Err(format!("{id} is not recorded"))
        };
    };
    let t = event_time(received);
    let body = &received.message.body;
    let row = |order: OrderId| tables.facts.get(&order);
    let written_at = match kind {
        EventKind::Order => json::order(body).ok().and_then(|order| row(order.order_id)?.order_written_at),
        EventKind::Payment => {
            json::payment(body).ok().and_then(|payment| row(payment.order_id)?.payment_written_at)
        }
    };
    let is_dead_letter = || {
        broker.any_published("dead_letters", |dead_letter| {
            dead_letter.message.attributes.get("dlq_source_message_id") == Some(received.id.as_str())
        })
    };
    if written_at.is_some_and(|at| at.micros() >= t) || is_dead_letter() {
        Ok(())
    } else {
        Err(format!("neither a row nor a dead letter has it: written at {written_at:?}, T is {t}"))
    }
}
