//! The bodies: one order and one payment per id, each value a function of the id.

use crate::arm::Kind;
use bytes::Bytes;

/// Returns the body of an event; a dead letter has the body of its payment.
pub fn body(kind: Kind, id: i64) -> Bytes {
    let (customer, address, payment) = (customer(id), address(id), id + 1_000);
    Bytes::from(match kind {
        Kind::Order => format!(
            "{{\"order_id\": {id}, \"customer_id\": {customer}, \"item\": \"Laptop\", \"quantity\": 3, \
             \"price\": 412.73, \"shipping_address\": \"{address}\", \"order_status\": \"Shipped\", \
             \"creation_date\": \"2024-01-21\"}}"
        ),
        Kind::Payment | Kind::DeadLetter => format!(
            "{{\"payment_id\": {payment}, \"order_id\": {id}, \"payment_method\": \"Credit Card\", \
             \"card_last_four\": \"1234\", \"payment_status\": \"Completed\", \
             \"payment_datetime\": \"2024-01-21T10:01:30Z\"}}"
        ),
    })
}

/// Returns the customer of an order.
pub fn customer(id: i64) -> i64 {
    100 + id % 900
}

/// Returns the address of an order.
pub fn address(id: i64) -> String {
    format!("{id} Main St, City, Country")
}

/// Returns true if the order is left out, so that its payment has none.
pub fn is_missing(id: i64, missing: i64) -> bool {
    missing > 0 && id % missing == 0
}
