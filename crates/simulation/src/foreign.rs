//! Publishers that are not ours: no attributes, times in other units, numbers at the limits, card numbers.

use ecom_bus::{Attributes, Message};
use ecom_domain::fact::Fact;

use crate::oracle::CARD_NUMBER;
use crate::world::World;

/// Orders of foreign publishers have ids from here on.
pub const FIRST_ORDER: i64 = 1_000;
/// Prices, most of them beyond 64-bit integers, as texts and as IEEE 754 says.
const PRICES: [(&str, f64); 4] = [
    // Of corrected orders.
    ("1.5", 1.5),
    ("10000000000000000000", 1e19),
    ("18446744073709551616", 18_446_744_073_709_551_616.0),
    ("0.1", 0.1),
];

/// Returns a message, with this event time if there is one.
pub fn message(body: String, event_time: Option<String>) -> Message {
    let mut attributes = Attributes::new();
    if let Some(event_time) = event_time {
        attributes.insert("event_time_us".to_owned(), event_time);
    }
    Message { body: body.into(), attributes }
}

/// Returns the body of version `n` of an order.
pub fn order(order_id: i64, n: usize, price: &str) -> String {
    format!(
        r#"{{"order_id":{order_id},"customer_id":{},"item":"item {n}","quantity":{},"price":{price},"shipping_address":"street {n}","order_status":"status {}","creation_date":"2024"}}"#,
        7 + n,
        1 + n % 3,
        9 - n % 9,
    )
}

/// Returns the body of version `n` of a payment.
pub fn payment(order_id: i64, n: usize, card: &str) -> String {
    let card = if n.is_multiple_of(2) { format!(r#""card_last_four":"{card}","#) } else { String::new() };
    format!(
        r#"{{"payment_id":{},"order_id":{order_id},"payment_method":"method {}",{card}"payment_status":"status {n}","payment_datetime":"2024-01-21T80:01:30Z"}}"#,
        1 + n,
        9 - n % 9,
    )
}

/// Publishes batches of orders and payments, some of them several of one order.
pub async fn publish(world: &World) {
    for batch in 0..1 + world.index(4) {
        tokio::time::sleep(std::time::Duration::from_millis(world.index(80) as u64)).await;
        let mut orders = Vec::new();
        let mut payments = Vec::new();
        for n in 0..1 + world.index(6) {
            let order_id = FIRST_ORDER + world.index(3) as i64;
            let n = 10 * batch + n;
            let now_us = world.broker.now_us();
            // One publisher sends one kind of time, so that its own events are in order.
            let event_time = match world.seed % 4 {
                0 => Some((now_us / 1_000_000).to_string()),
                1 => Some((now_us + 3_600_000_000 + n as i64).to_string()),
                _ => None,
            };
            let price = PRICES[world.index(PRICES.len())].0;
            let order = order(order_id, n, price);
            let is_broken = world.index(4) == 0;
            let order = if is_broken { order.replace(r#""quantity":"#, r#""quantity":-"#) } else { order };
            orders.push(message(order, event_time.clone()));
            if is_broken {
                // It has the next id, and so the next T.
                orders.push(message(self::order(order_id, n + 5, price), event_time.clone()));
            }
            let card = if world.index(8) == 0 { CARD_NUMBER } else { "0623" };
            payments.push(message(payment(order_id, n, card), event_time));
        }
        world.broker.publish_batch("orders", orders);
        world.broker.publish_batch("payments", payments);
    }
}

/// Publishes two payments with one T, after their order was recorded.
pub async fn publish_tie(world: &World) {
    world.broker.publish_batch("orders", vec![message(order(FIRST_ORDER, 1, "1.5"), None)]);
    world.broker.drained().await;
    let event_time = Some(world.broker.now_us().to_string());
    let payments = [1, 2].map(|n| message(payment(FIRST_ORDER, n, "0623"), event_time.clone()));
    world.broker.publish_batch("payments", payments.to_vec());
}

/// Asserts that a price is the number that was published.
pub fn check_price(seed: u64, row: &Fact, body: &[u8]) {
    let text = std::str::from_utf8(body).expect("a foreign body is text");
    let (_, price) = text.split_once(r#""price":"#).expect("an order has a price");
    let expected = PRICES.iter().find(|(text, _)| price.split_once(',').is_some_and(|(it, _)| it == *text));
    let expected = expected.map(|(_, price)| *price);
    assert_eq!(row.order.price, expected, "seed {seed}: order {} of {text}", row.order_id.0);
}
