//! The two column groups of a fact in brief, without the shipping address and the card's digits.

use std::fmt::{Display, Formatter, Result};

use serde::{Deserialize, Serialize};

use ecom_domain::fact::Fact;

/// The order of a row.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[allow(missing_docs, reason = "the columns of schema.cql")]
pub struct OrderSummary {
    pub customer_id: Option<i64>,
    pub item: Option<String>,
    pub quantity: Option<i64>,
    pub price: Option<f64>,
    pub order_status: Option<String>,
}

/// The payment of a row.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[allow(missing_docs, reason = "the columns of schema.cql")]
pub struct PaymentSummary {
    pub payment_id: i64,
    pub payment_method: Option<String>,
    pub payment_status: Option<String>,
}

/// The column group that a correction overwrites.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ReplacedFact {
    /// The row's order.
    Order(OrderSummary),
    /// The row's payment.
    Payment(PaymentSummary),
}

impl ReplacedFact {
    /// Returns the JSON that the history keeps.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and text become JSON")
    }

    /// Returns the values in the JSON of a history; `None` if another version wrote what this one cannot read.
    pub fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

impl OrderSummary {
    /// The order of a row; `None` if it has none.
    pub fn of(fact: &Fact) -> Option<Self> {
        fact.has_order().then(|| Self {
            customer_id: fact.order.customer_id,
            item: fact.order.item.clone(),
            quantity: fact.order.quantity,
            price: fact.order.price,
            order_status: fact.order.order_status.clone(),
        })
    }
}

impl PaymentSummary {
    /// The payment of a row; `None` if it has none.
    pub fn of(fact: &Fact) -> Option<Self> {
        fact.payment.payment_id.map(|payment_id| Self {
            payment_id,
            payment_method: fact.payment.payment_method.clone(),
            payment_status: fact.payment.payment_status.clone(),
        })
    }
}

impl Display for OrderSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { customer_id, item, quantity, price, order_status } = self;
        let (customer, quantity) = (or_dash(*customer_id), or_dash(*quantity));
        let (item, price) = (or_dash(item.as_deref()), or_dash(*price));
        write!(f, "customer {customer}, {quantity} × {item} at {price}, {}", or_dash(order_status.as_deref()))
    }
}

impl Display for PaymentSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (method, status) =
            (or_dash(self.payment_method.as_deref()), or_dash(self.payment_status.as_deref()));
        write!(f, "payment {}, {method}, {status}", self.payment_id)
    }
}

impl Display for ReplacedFact {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Order(order) => order.fmt(f),
            Self::Payment(payment) => payment.fmt(f),
        }
    }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
