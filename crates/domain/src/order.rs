//! An order, as its event says it.

use std::borrow::Cow;

/// Identifies an order; always positive.
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
    /// Primary key of the fact table.
    pub order_id: OrderId,
    /// Who ordered; positive. Its presence in a row is what "order found" means.
    pub customer_id: i64,
    /// What was ordered.
    pub item: Cow<'a, str>,
    /// How many; positive.
    pub quantity: i64,
    /// Price of one; finite, not negative.
    pub price: f64,
    /// Where to.
    pub shipping_address: Cow<'a, str>,
    /// As the producer names it.
    pub order_status: Cow<'a, str>,
    /// Text as received, never parsed and never ordered by.
    pub creation_date: Cow<'a, str>,
}

impl Order<'_> {
    /// The same order, owning its texts.
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
