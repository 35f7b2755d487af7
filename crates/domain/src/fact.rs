//! Rows of the fact table, as a store reads them.

use super::event_time::EventTime;
use super::order::{Order, OrderId};
use super::payment::Payment;

/// The order columns of a row. Every cell may be null in a row that the pipeline did not write.
#[derive(Clone, PartialEq, Default, Debug)]
#[allow(missing_docs, reason = "the columns of schema.cql")]
pub struct OrderCells {
    pub customer_id: Option<i64>,
    pub item: Option<String>,
    pub quantity: Option<i64>,
    pub price: Option<f64>,
    pub shipping_address: Option<String>,
    pub order_status: Option<String>,
    pub creation_date: Option<String>,
}

/// The payment columns of a row.
#[derive(Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the columns of schema.cql")]
pub struct PaymentCells {
    pub payment_id: Option<i64>,
    pub payment_method: Option<String>,
    pub card_last_four: Option<String>,
    pub payment_status: Option<String>,
    pub payment_datetime: Option<String>,
}

/// A row, with the write timestamp of each column group.
#[derive(Clone, PartialEq, Debug)]
pub struct Fact {
    /// The primary key.
    pub order_id: OrderId,
    /// The order columns.
    pub order: OrderCells,
    /// `WRITETIME(customer_id)`; `None` where that cell is null.
    pub order_written_at: Option<EventTime>,
    /// The payment columns.
    pub payment: PaymentCells,
    /// `WRITETIME(payment_id)`; `None` where that cell is null.
    pub payment_written_at: Option<EventTime>,
}

impl Fact {
    /// Returns whether the row has an order. A row alone does not mean so: the UPDATE of a payment creates
    /// rows, too.
    pub fn has_order(&self) -> bool {
        self.order.customer_id.is_some()
    }
}

/// A payment that lost against a newer one of its order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SupersededPayment {
    /// The order.
    pub order_id: OrderId,
    /// The event time of the payment.
    pub t: EventTime,
    /// Its values, as the fact table would show them.
    pub payment: PaymentCells,
}

impl SupersededPayment {
    /// Returns the older of the payment in a slot and a payment at `t`: the one that loses against the other.
    /// `None` where the slot has no payment, where both have the same values, for a payment does not lose
    /// against its copy, or the same event time, for then neither is the newer one.
    pub fn loser(slot: &PaymentSlot, payment: &Payment<'_>, t: EventTime) -> Option<Self> {
        let PaymentSlot::Taken { payment: current, written_at } = slot else { return None };
        if current.matches(payment) {
            return None;
        }
        let order_id = payment.order_id;
        match written_at.cmp(&t) {
            std::cmp::Ordering::Less => Some(Self { order_id, t: *written_at, payment: current.clone() }),
            std::cmp::Ordering::Greater => Some(Self { order_id, t, payment: payment.into() }),
            std::cmp::Ordering::Equal => None,
        }
    }
}

/// The payment columns that a payment would be written over.
#[derive(Clone, PartialEq, Debug)]
pub enum PaymentSlot {
    /// There is no order with this id.
    NoOrder,
    /// The order has no payment.
    Empty,
    /// The order has a payment.
    Taken {
        /// The payment.
        payment: PaymentCells,
        /// Its write timestamp.
        written_at: EventTime,
    },
}

impl OrderCells {
    /// Returns whether every cell equals that of `order`.
    pub fn matches(&self, order: &Order<'_>) -> bool {
        self.customer_id == Some(order.customer_id)
            && self.item.as_deref() == Some(order.item.as_ref())
            && self.quantity == Some(order.quantity)
            && self.price == Some(order.price)
            && self.shipping_address.as_deref() == Some(order.shipping_address.as_ref())
            && self.order_status.as_deref() == Some(order.order_status.as_ref())
            && self.creation_date.as_deref() == Some(order.creation_date.as_ref())
    }
}

impl PaymentCells {
    /// Returns whether every cell, null ones included, equals that of `payment`.
    pub fn matches(&self, payment: &Payment<'_>) -> bool {
        self.payment_id == Some(payment.payment_id)
            && self.payment_method.as_deref() == Some(payment.payment_method.as_ref())
            && self.card_last_four.as_deref() == payment.card_last_four.as_ref().map(|card| card.as_str())
            && self.payment_status.as_deref() == Some(payment.payment_status.as_ref())
            && self.payment_datetime.as_deref() == Some(payment.payment_datetime.as_ref())
    }

    /// Returns whether every cell is null.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Leaves out the digits of the card.
impl std::fmt::Debug for PaymentCells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PaymentCells")
            .field("payment_id", &self.payment_id)
            .field("payment_method", &self.payment_method)
            .field("payment_status", &self.payment_status)
            .field("payment_datetime", &self.payment_datetime)
            .finish_non_exhaustive()
    }
}

impl From<&Order<'_>> for OrderCells {
    fn from(order: &Order<'_>) -> Self {
        Self {
            customer_id: Some(order.customer_id),
            item: Some(order.item.to_string()),
            quantity: Some(order.quantity),
            price: Some(order.price),
            shipping_address: Some(order.shipping_address.to_string()),
            order_status: Some(order.order_status.to_string()),
            creation_date: Some(order.creation_date.to_string()),
        }
    }
}

impl From<&Payment<'_>> for PaymentCells {
    fn from(payment: &Payment<'_>) -> Self {
        Self {
            payment_id: Some(payment.payment_id),
            payment_method: Some(payment.payment_method.to_string()),
            card_last_four: payment.card_last_four.map(|card| card.as_str().to_owned()),
            payment_status: Some(payment.payment_status.to_string()),
            payment_datetime: Some(payment.payment_datetime.to_string()),
        }
    }
}
