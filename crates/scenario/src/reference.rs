//! The streams of the reference implementation's producers: orders 1 to 80 in cycles, with other values each
//! time, and payments of orders 1 to 500 once. Most payments never find their order.

use std::borrow::Cow;

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::draw::{PlanPurpose, one_of, rng};
use crate::planned::{EventContent, PlannedEvent};
use ecom_codec::body::{self, NoCard};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::{CardLastFour, Payment};

/// The largest order id of the orders.
const ORDERS: u64 = 80;
/// The largest order id of the payments.
const PAYMENTS: u64 = 500;
const ITEMS: [&str; 5] = ["Laptop", "Phone", "Book", "Tablet", "Monitor"];
const ADDRESSES: [&str; 3] =
    ["123 Main St, City A, Country", "456 Elm St, City B, Country", "789 Oak St, City C, Country"];
const STATUSES: [&str; 4] = ["Shipped", "Pending", "Delivered", "Cancelled"];
const METHODS: [&str; 5] = ["Credit Card", "Debit Card", "PayPal", "Google Pay", "Apple Pay"];

/// The streams of the reference producers, with a seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// The seed of the values that are random in the reference.
    pub seed: u64,
    /// The number of order events, and the maximum number of payment events. Without it, the orders never
    /// end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

impl Reference {
    /// Returns the messages on the orders topic, in publishing order.
    pub fn order_events(self) -> impl Iterator<Item = PlannedEvent> + Send {
        (0..self.count.unwrap_or(u64::MAX)).map(move |sequence| self.order(sequence))
    }

    /// Returns the messages on the payments topic, in publishing order.
    pub fn payment_events(self) -> impl Iterator<Item = PlannedEvent> + Send {
        (0..self.count.unwrap_or(PAYMENTS).min(PAYMENTS)).map(move |sequence| self.payment(sequence))
    }

    fn order(self, sequence: u64) -> PlannedEvent {
        let order_id = OrderId(1i64.saturating_add_unsigned(sequence % ORDERS));
        let rng = &mut rng(self.seed, order_id, sequence / ORDERS, PlanPurpose::ReferenceOrder);
        let order = Order {
            order_id,
            customer_id: rng.random_range(100..=1_000),
            item: Cow::Borrowed(one_of(rng, &ITEMS)),
            quantity: rng.random_range(1..=10),
            price: 100.0 + 1_400.0 * rng.random::<f64>(),
            shipping_address: Cow::Borrowed(one_of(rng, &ADDRESSES)),
            order_status: Cow::Borrowed(one_of(rng, &STATUSES)),
            creation_date: Cow::Borrowed("2024-01-21"),
        };
        let body = body::order(&order);
        planned(EventKind::Order, order_id, body, EventContent::Order(order), sequence)
    }

    fn payment(self, sequence: u64) -> PlannedEvent {
        let order_id = OrderId(1i64.saturating_add_unsigned(sequence));
        let rng = &mut rng(self.seed, order_id, 0, PlanPurpose::ReferencePayment);
        let payment = Payment {
            payment_id: order_id.0 + 1_000,
            order_id,
            payment_method: Cow::Borrowed(one_of(rng, &METHODS)),
            card_last_four: CardLastFour::try_new(&format!("{:04}", order_id.0 % 10_000)),
            payment_status: Cow::Borrowed("Completed"),
            payment_datetime: Cow::Owned(format!("2024-01-21T{:02}:01:30Z", order_id.0)),
        };
        let body = body::payment(&payment, NoCard::Omitted);
        planned(EventKind::Payment, order_id, body, EventContent::Payment(payment), sequence)
    }
}

fn planned(
    kind: EventKind,
    order_id: OrderId,
    body: bytes::Bytes,
    content: EventContent,
    sequence: u64,
) -> PlannedEvent {
    PlannedEvent { kind, order_id: Some(order_id), body, content, sequence, event: sequence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_cycle_with_other_values_each_time() {
        let reference = Reference { seed: 1, count: Some(161) };
        let events: Vec<PlannedEvent> = reference.order_events().collect();
        let ids: Vec<i64> = events.iter().filter_map(|p| p.order_id).map(|id| id.0).collect();
        assert_eq!((ids[0], ids[79], ids[80], ids[160]), (1, 80, 1, 1));
        assert_ne!(events[0].body, events[80].body);
        assert_ne!(events[80].body, events[160].body);
        assert_eq!(events, reference.order_events().collect::<Vec<_>>());
        let first = concat!(
            r#"{"order_id":1,"customer_id":455,"item":"Monitor","quantity":7,"price":777.9403479956732,"#,
            r#""shipping_address":"456 Elm St, City B, Country","order_status":"Pending","#,
            r#""creation_date":"2024-01-21"}"#
        );
        assert_eq!(String::from_utf8_lossy(&events[0].body), first);
    }

    #[test]
    fn payments_are_those_of_the_reference_including_impossible_times() {
        let bodies: Vec<String> = Reference { seed: 1, count: None }
            .payment_events()
            .map(|planned| String::from_utf8_lossy(&planned.body).into_owned())
            .collect();
        assert_eq!(bodies.len(), 500);
        assert!(
            bodies[0].starts_with(r#"{"payment_id":1001,"order_id":1,"payment_method":""#),
            "{}",
            bodies[0]
        );
        assert!(bodies[0].contains(r#""card_last_four":"0001""#), "{}", bodies[0]);
        assert!(bodies[0].ends_with(r#""payment_datetime":"2024-01-21T01:01:30Z"}"#), "{}", bodies[0]);
        assert!(bodies[79].ends_with(r#""2024-01-21T80:01:30Z"}"#), "{}", bodies[79]);
        assert!(bodies[499].ends_with(r#""2024-01-21T500:01:30Z"}"#), "{}", bodies[499]);
    }
}
