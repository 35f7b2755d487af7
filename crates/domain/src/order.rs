//! Orders.

use std::borrow::Cow;

/// The id of an order; always positive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OrderId(pub i64);

impl std::fmt::Display for OrderId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A valid order event: the order column group of the fact table.
#[derive(Clone, PartialEq, Debug)]
pub struct Order<'a> {
    /// The order id, the primary key of the fact table.
    pub order_id: OrderId,
    /// The customer, positive. A row has an order where this column is not null.
    pub customer_id: i64,
    /// The item ordered.
    pub item: Cow<'a, str>,
    /// The quantity, positive.
    pub quantity: i64,
    /// The price of one item; finite, not negative.
    pub price: f64,
    /// The shipping address.
    pub shipping_address: Cow<'a, str>,
    /// The status, in the producer's words.
    pub order_status: Cow<'a, str>,
    /// The creation date as received: never parsed, never sorted by.
    pub creation_date: Cow<'a, str>,
}

impl Order<'_> {
    /// Returns the same order, owning its texts.
    pub fn into_owned(self) -> Order<'static> {
        Order {
            order_id: self.order_id,
            customer_id: self.customer_id,
            item: Cow::Owned(self.item.into_owned()),
            quantity: self.quantity,
            price: self.price,
            shipping_address: Cow::Owned(self.shipping_address.into_owned()),
            order_status: Cow::Owned(self.order_status.into_owned()),
            creation_date: Cow::Owned(self.creation_date.into_owned()),
        }
    }
}
