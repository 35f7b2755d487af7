//! Bodies of events as the producers publish them.

/// Different events of a kind.
pub const VARIETY: usize = 100;

const ITEMS: [&str; 4] = ["Laptop", "Phone", "Wireless Headphones", "Smartwatch"];
const STREETS: [&str; 4] =
    ["1 Main St, Springfield", "42 Elm Avenue, Riverside", "7 Oak Lane", "1300 Maple Road"];
const STATUSES: [&str; 4] = ["Shipped", "Pending", "Delivered", "Cancelled"];

/// Returns the body of an order.
pub fn order(n: usize) -> String {
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

/// Returns the body of that order's payment; every other one is by card.
pub fn payment(n: usize) -> String {
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
