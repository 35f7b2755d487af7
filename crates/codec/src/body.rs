//! Bodies of events as the reference producers write them: compact JSON in their field order.

use bytes::Bytes;
use serde::Serialize;

use ecom_domain::order::Order;
use ecom_domain::payment::Payment;

/// The representation of a payment without a card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoCard {
    /// The field is absent.
    Omitted,
    /// The field is null.
    Null,
}

#[derive(Serialize)]
struct OrderBody<'a> {
    order_id: i64,
    customer_id: i64,
    item: &'a str,
    quantity: i64,
    price: f64,
    shipping_address: &'a str,
    order_status: &'a str,
    creation_date: &'a str,
}

#[derive(Serialize)]
struct PaymentBody<'a> {
    payment_id: i64,
    order_id: i64,
    payment_method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    card_last_four: Option<Option<&'a str>>,
    payment_status: &'a str,
    payment_datetime: &'a str,
}

/// Returns the body of an order event.
pub fn order(order: &Order<'_>) -> Bytes {
    json(&OrderBody {
        order_id: order.order_id.0,
        customer_id: order.customer_id,
        item: &order.item,
        quantity: order.quantity,
        price: order.price,
        shipping_address: &order.shipping_address,
        order_status: &order.order_status,
        creation_date: &order.creation_date,
    })
}

/// Returns the body of a payment event.
pub fn payment(payment: &Payment<'_>, no_card: NoCard) -> Bytes {
    let card = payment.card_last_four.as_ref().map(|card| card.as_str());
    json(&PaymentBody {
        payment_id: payment.payment_id,
        order_id: payment.order_id.0,
        payment_method: &payment.payment_method,
        card_last_four: match (card, no_card) {
            (Some(card), _) => Some(Some(card)),
            (None, NoCard::Null) => Some(None),
            (None, NoCard::Omitted) => None,
        },
        payment_status: &payment.payment_status,
        payment_datetime: &payment.payment_datetime,
    })
}

/// Serializes a value as compact JSON.
pub fn json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).expect("structs of numbers and texts serialize").into()
}
