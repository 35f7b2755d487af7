//! What the generator publishes, and the rows and dead letters that must come of it. Every value is a function
//! of the id; those of a dead letter also of the time the load began, in microseconds since the epoch.

use crate::arm::Kind;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};
use ecom_domain::dead_letter::{DeadLetter, DeadLetterId, EventKind, StoredBody};
use ecom_domain::{event_time::EventTime, order::OrderId, reason::Reason};
use google_cloud_pubsub::model::Message;
use serde::Deserialize;
use serde_json::{Map, Value};

const DETAIL: &str = "order is not in the fact table";

/// An order as its body has it; the bodies have no escapes, so that texts can be borrowed.
#[derive(Deserialize)]
pub struct Order<'a> {
    pub order_id: i64,
    pub customer_id: i64,
    pub item: &'a str,
    pub quantity: i64,
    pub price: f64,
    pub shipping_address: &'a str,
    pub order_status: &'a str,
    pub creation_date: &'a str,
}

/// A payment as its body has it.
#[derive(Deserialize)]
pub struct Payment<'a> {
    pub payment_id: i64,
    pub order_id: i64,
    pub payment_method: &'a str,
    pub card_last_four: &'a str,
    pub payment_status: &'a str,
    pub payment_datetime: &'a str,
}

/// Returns the body of an event; a dead letter has the body of its payment.
pub fn body(kind: Kind, id: i64) -> Bytes {
    let (customer, payment) = (100 + id % 900, id + 1_000);
    Bytes::from(match kind {
        Kind::Order => format!(
            "{{\"order_id\": {id}, \"customer_id\": {customer}, \"item\": \"Laptop\", \"quantity\": 3, \
             \"price\": 412.73, \"shipping_address\": \"{id} Main St, City, Country\", \"order_status\": \"Shipped\", \
             \"creation_date\": \"2024-01-21\"}}"
        ),
        Kind::Payment | Kind::DeadLetter => format!(
            "{{\"payment_id\": {payment}, \"order_id\": {id}, \"payment_method\": \"Credit Card\", \
             \"card_last_four\": \"1234\", \"payment_status\": \"Completed\", \
             \"payment_datetime\": \"2024-01-21T10:01:30Z\"}}"
        ),
    })
}

/// Returns an event as a message.
pub fn message(kind: Kind, id: i64, began: i64) -> Message {
    let message = Message::new().set_data(body(kind, id));
    if kind == Kind::DeadLetter { message.set_attributes(attributes(id, began)) } else { message }
}

/// Returns the attributes of a dead letter: those that a consumer sets, and the event's own time.
pub fn attributes(id: i64, began: i64) -> [(&'static str, String); 12] {
    let time = DateTime::from_timestamp_micros(began + id).unwrap_or_default();
    let time = time.to_rfc3339_opts(SecondsFormat::Micros, true);
    [
        ("dlq_attempt", "1".to_owned()),
        ("dlq_consumer_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("dlq_detail", DETAIL.to_owned()),
        ("dlq_first_failed_at", time.clone()),
        ("dlq_kind", "payment".to_owned()),
        ("dlq_published_at", time),
        ("dlq_reason", Reason::OrderNotFound.to_string()),
        ("dlq_source_message_id", id.to_string()),
        ("dlq_source_subscription", "payments_data-sub".to_owned()),
        ("event_time_us", (began + id).to_string()),
        ("order_id", id.to_string()),
        ("payment_id", (id + 1_000).to_string()),
    ]
}

/// Returns the row of an order after all events of this kind, as JSON without nulls.
pub fn row(kind: Kind, id: i64) -> Map<String, Value> {
    let read = |kind| serde_json::from_slice::<Map<_, _>>(&body(kind, id)).expect("a body is an object");
    let mut row = read(Kind::Order);
    row.extend(read(kind));
    row
}

/// Returns a dead letter as the dead-letter store must have it: in milliseconds where a column has them.
pub fn dead_letter(id: i64, began: i64) -> DeadLetter {
    let (t, body) = (EventTime::stored(began + id), body(Kind::DeadLetter, id));
    DeadLetter {
        id: DeadLetterId::of(EventKind::Payment, t, &body),
        kind: EventKind::Payment,
        t,
        body: StoredBody::keep(&body),
        attributes: attributes(id, began).into_iter().collect(),
        reason: Reason::OrderNotFound,
        detail: DETAIL.to_owned(),
        order_id: Some(OrderId(id)),
        payment_id: Some(id + 1_000),
        first_failed_at: t.micros() / 1_000 * 1_000,
        corrects: None,
    }
}
