//! The events: one order and one payment per id, each cell a function of the id.

use bytes::Bytes;

use crate::Outcome;

/// Which stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Orders.
    Order,
    /// Payments.
    Payment,
}

impl Kind {
    /// The kind a word names.
    pub fn parse(word: &str) -> Outcome<Self> {
        match word {
            "order" => Ok(Self::Order),
            "payment" => Ok(Self::Payment),
            other => Err(format!("neither order nor payment: {other}").into()),
        }
    }

    /// The body of an event.
    pub fn body(self, id: i64) -> Bytes {
        match self {
            Self::Order => order(id),
            Self::Payment => payment(id),
        }
    }
}

/// Customer of an order.
pub fn customer(id: i64) -> i64 {
    100 + id % 900
}

/// Address of an order.
pub fn address(id: i64) -> String {
    format!("{id} Main St, City, Country")
}

/// Whether an order was left out, so that its payment has none.
pub fn is_missing(id: i64, missing: i64) -> bool {
    missing > 0 && id % missing == 0
}

fn order(id: i64) -> Bytes {
    let (customer, address) = (customer(id), address(id));
    Bytes::from(format!(
        "{{\"order_id\": {id}, \"customer_id\": {customer}, \"item\": \"Laptop\", \"quantity\": 3, \
         \"price\": 412.73, \"shipping_address\": \"{address}\", \"order_status\": \"Shipped\", \
         \"creation_date\": \"2024-01-21\"}}"
    ))
}

fn payment(id: i64) -> Bytes {
    Bytes::from(format!(
        "{{\"payment_id\": {}, \"order_id\": {id}, \"payment_method\": \"Credit Card\", \
         \"card_last_four\": \"1234\", \"payment_status\": \"Completed\", \
         \"payment_datetime\": \"2024-01-21T10:01:30Z\"}}",
        id + 1_000
    ))
}
