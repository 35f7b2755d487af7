//! Messages as the producers publish them and the bus hands them out.

use bytes::Bytes;
use ecom::bus::{Attributes, Message, Received};

/// Different messages; a number of events that is a multiple of it has each equally often.
const VARIETY: usize = 64;
/// When the first was published, microseconds since the epoch.
const PUBLISHED_US: i64 = 1_705_831_290_000_000;

const ITEMS: [&str; 4] = ["Laptop", "Phone", "Wireless Headphones", "Smartwatch"];
const STREETS: [&str; 4] =
    ["1 Main St, Springfield", "42 Elm Avenue, Riverside", "7 Oak Lane", "1300 Maple Road"];
const STATUSES: [&str; 4] = ["Shipped", "Pending", "Delivered", "Cancelled"];

/// Received messages, over and over.
pub struct Events(Vec<Received>);

impl Events {
    /// Orders, without a body's text that is escaped.
    pub fn orders() -> Self {
        Self((0..VARIETY).map(|n| received(n, order(n))).collect())
    }

    /// Payments of those orders, half of them by card.
    pub fn payments() -> Self {
        Self((0..VARIETY).map(|n| received(n, payment(n))).collect())
    }

    /// That many of them.
    pub fn take(&self, events: usize) -> impl Iterator<Item = &Received> {
        self.0.iter().cycle().take(events)
    }
}

fn order(n: usize) -> String {
    let (item, status) = (ITEMS[n % 4], STATUSES[n / 4 % 4]);
    let (street, cents, day) = (STREETS[n / 16 % 4], 10 + n % 90, 1 + n % 28);
    format!(
        "{{\"order_id\":{},\"customer_id\":{},\"item\":\"{item}\",\"quantity\":{},\"price\":{}.{cents},\
         \"shipping_address\":\"{street}\",\"order_status\":\"{status}\",\"creation_date\":\"2024-01-{day:02}\"}}",
        100_000 + n,
        1_000 + n,
        1 + n % 9,
        40 + n * 3,
    )
}

fn payment(n: usize) -> String {
    let (method, card) = match n % 2 {
        0 => ("Credit Card", format!("\"card_last_four\":\"{:04}\",", 7 + n)),
        _ => ("PayPal", String::new()),
    };
    format!(
        "{{\"payment_id\":{},\"order_id\":{},\"payment_method\":\"{method}\",{card}\
         \"payment_status\":\"Completed\",\"payment_datetime\":\"2024-01-21T10:{:02}:30Z\"}}",
        200_000 + n,
        100_000 + n,
        n % 60,
    )
}

fn received(n: usize, body: String) -> Received {
    let publish_time_us = PUBLISHED_US + i64::try_from(n).unwrap_or_default() * 1_000;
    let attributes = Attributes::from_iter([
        ("event_id", format!("018d2b1e-7c40-7000-8000-0000000000{n:02}")),
        ("event_time_us", publish_time_us.to_string()),
    ]);
    Received {
        message: Message { body: Bytes::from(body), attributes },
        id: format!("99887766554433{n:02}"),
        publish_time_us,
        attempt: 1,
    }
}
