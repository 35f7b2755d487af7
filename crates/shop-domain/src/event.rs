//! The events that report the states of orders and payments. Each follows from its record alone, so that an event that is
//! published again has the same body and the same T.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::order::{OrderLine, OrderRecord};
use super::payment::PaymentRecord;
use super::time::rfc3339;
use ecom_domain::order::Order;
use ecom_domain::payment::Payment;

/// The method of a payment that has none.
const NO_METHOD: &str = "unspecified";

/// Returns the event that reports the state of an order; its T is `state_at`.
///
/// An order of one line with a price is the item, its quantity and its price. Any other is its lines as one item, quantity
/// 1, at the price of all of them, so that price × quantity is the value of the merchandise.
pub fn of_order(order: &OrderRecord) -> Order<'_> {
    let document = &order.document;
    let (item, quantity, price_minor) = match document.lines.as_slice() {
        [OrderLine { item, quantity, unit_price_minor: Some(price), .. }] => {
            (Cow::Borrowed(item.as_str()), *quantity, *price)
        }
        lines => {
            let lines: Vec<String> =
                lines.iter().map(|line| format!("{} × {}", line.quantity, line.item)).collect();
            (Cow::Owned(lines.join(", ")), 1, document.merchandise_minor)
        }
    };
    Order {
        order_id: order.order_id,
        customer_id: order.customer_id,
        item,
        quantity,
        price: order.currency.to_f64(price_minor),
        shipping_address: Cow::Borrowed(&document.shipping_address),
        order_status: Cow::Borrowed(order.state.status()),
        creation_date: Cow::Owned(rfc3339(order.created_at)),
    }
}

/// Returns the event that reports the state of a payment, and `None` for one that pays no order; its T is `state_at`.
pub fn of_payment(payment: &PaymentRecord) -> Option<Payment<'_>> {
    let (order_id, _) = payment.of_order?;
    Some(Payment {
        payment_id: payment.payment_id,
        order_id,
        payment_method: Cow::Borrowed(payment.payment_method.as_deref().unwrap_or(NO_METHOD)),
        card_last_four: payment.card_last_four,
        payment_status: Cow::Borrowed(payment.state.as_str()),
        payment_datetime: Cow::Owned(rfc3339(payment.state_at)),
    })
}

/// Returns the event id of the event that reports a state: ten bytes for a `UUIDv7` of its time, the same at every call.
pub fn id_bytes(record_id: i64, state: &str, state_at: i64) -> [u8; 10] {
    let hash = Sha256::new()
        .chain_update(record_id.to_be_bytes())
        .chain_update(state)
        .chain_update(state_at.to_be_bytes());
    hash.finalize()[..10].try_into().expect("a digest has 32 bytes")
}
