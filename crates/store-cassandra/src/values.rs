//! The values that the statements of the fact table bind, in the order of their placeholders.

use scylla::serialize::row::SerializeRow;

use ecom_domain::event_time::EventTime;
use ecom_domain::fact::SupersededPayment;
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;

/// Returns the values of `RECORD_ORDER`: the order columns and the event time.
pub fn order(order: &Order<'_>, t: EventTime) -> impl SerializeRow {
    (
        order.order_id.0,
        order.customer_id,
        &*order.item,
        order.quantity,
        order.price,
        &*order.shipping_address,
        &*order.order_status,
        &*order.creation_date,
        t.micros(),
    )
}

/// The bytes of what the values of a row have beside its text: numbers, times and lengths.
const FIXED_BYTES: usize = 80;

/// Returns about as many bytes as the values of `RECORD_ORDER` have.
pub fn order_bytes(order: &Order<'_>) -> usize {
    let text = [&order.item, &order.shipping_address, &order.order_status, &order.creation_date];
    FIXED_BYTES + text.iter().map(|text| text.len()).sum::<usize>()
}

/// Returns about as many bytes as the values of `RECORD_PAYMENT` have.
pub fn payment_bytes(payment: &Payment<'_>) -> usize {
    let text = [&payment.payment_method, &payment.payment_status, &payment.payment_datetime];
    FIXED_BYTES + text.iter().map(|text| text.len()).sum::<usize>()
}

/// Returns the values of `RECORD_PAYMENT`: the event time, the payment columns and the key.
pub fn payment(payment: &Payment<'_>, t: EventTime) -> impl SerializeRow {
    (
        t.micros(),
        payment.payment_id,
        &*payment.payment_method,
        payment.card_last_four.as_ref().map(|card| card.as_str()),
        &*payment.payment_status,
        &*payment.payment_datetime,
        payment.order_id.0,
    )
}

/// Returns the values of `RECORD_BESIDE`: the columns of the recorded payment and the event time.
pub fn beside(payment: &Payment<'_>, t: EventTime) -> impl SerializeRow {
    (
        payment.order_id.0,
        t.micros(),
        payment.payment_id,
        &*payment.payment_method,
        payment.card_last_four.as_ref().map(|card| card.as_str()),
        &*payment.payment_status,
        &*payment.payment_datetime,
        t.micros(),
    )
}

/// Returns the values of `RECORD_SUPERSEDED`: the columns of the recorded payment and the event time.
pub fn superseded(superseded: &SupersededPayment) -> impl SerializeRow {
    let SupersededPayment { order_id, t, payment } = superseded;
    (
        order_id.0,
        t.micros(),
        payment.payment_id,
        payment.payment_method.as_deref(),
        payment.card_last_four.as_deref(),
        payment.payment_status.as_deref(),
        payment.payment_datetime.as_deref(),
        t.micros(),
    )
}

/// Returns the primary key.
pub fn key(order_id: OrderId) -> impl SerializeRow {
    (order_id.0,)
}
