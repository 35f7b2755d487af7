//! Random orders and transactions, of a seed.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A kind of records that the API creates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// Orders.
    Order,
    /// Transactions without an order.
    Transaction,
}

impl RecordKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Order, Self::Transaction];

    /// Returns the kind as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Transaction => "transaction",
        }
    }

    /// Returns the path where records of this kind are created and listed.
    pub fn path(self) -> &'static str {
        match self {
            Self::Order => "/api/v1/orders",
            Self::Transaction => "/api/v1/transactions",
        }
    }

    /// Returns the id of a record as the API shows it.
    pub fn id(self, record: &Value) -> Option<i64> {
        match self {
            Self::Order => record["order_id"].as_i64(),
            Self::Transaction => record["transaction_id"].as_str()?.parse().ok(),
        }
    }
}

/// The kind of records that a load creates.
#[derive(Clone, Debug)]
pub enum Creates {
    /// Orders that are paid at once.
    Orders,
    /// Transactions without an order.
    Transactions(TransactionMix),
}

impl Creates {
    /// Returns the kind of the records.
    pub fn kind(&self) -> RecordKind {
        match self {
            Self::Orders => RecordKind::Order,
            Self::Transactions(_) => RecordKind::Transaction,
        }
    }

    /// Returns the body of a request. The customer of an order is that of the user.
    pub(crate) fn body(&self, dice: &mut ChaCha8Rng, user: u64) -> Value {
        match self {
            Self::Orders => order(dice, i64::try_from(user).unwrap_or(0) + 1),
            Self::Transactions(mix) => transaction(dice, mix),
        }
    }
}

/// The character between the name of a sender and the idempotency key.
const SENDER_SEPARATOR: char = '.';

/// Adds the idempotency key to the sender of a transaction, so that a list of transactions tells the key of each.
pub(crate) fn name_key(transaction: &mut Value, key: &str) {
    if let Some(sender) = transaction["sender"].as_str() {
        transaction["sender"] = format!("{sender}{SENDER_SEPARATOR}{key}").into();
    }
}

/// Returns the idempotency key in a sender that was made by [`name_key`].
pub(crate) fn named_key(sender: &str) -> Option<&str> {
    sender.split_once(SENDER_SEPARATOR).map(|(_, key)| key)
}

/// The items that are ordered, with their prices in cents.
const ITEMS: [(&str, i64); 6] = [
    ("Laptop", 99_900),
    ("Mouse", 1_999),
    ("Keyboard", 4_950),
    ("Headphones", 12_900),
    ("Phone", 59_900),
    ("Desk lamp", 3_495),
];
const STREETS: [&str; 4] = ["Main St", "Oak Avenue", "Station Road", "Mill Lane"];
const METHODS: [&str; 3] = ["Credit Card", "PayPal", "Bank Transfer"];

/// Returns an order of this customer that is paid at once.
pub fn order(dice: &mut ChaCha8Rng, customer_id: i64) -> Value {
    let lines: Vec<Value> = (0..dice.random_range(1..=3))
        .filter_map(|_| Some((ITEMS.choose(dice)?, dice.random_range(1..=3))))
        .map(|((item, cents), quantity)| {
            json!({"item": item, "quantity": quantity, "unit_price": *cents as f64 / 100.0})
        })
        .collect();
    let method = METHODS.choose(dice).copied().unwrap_or(METHODS[0]);
    let mut order = json!({
        "customer_id": customer_id,
        "lines": lines,
        "shipping_address": format!("{} {}", dice.random_range(1..200), STREETS.choose(dice).unwrap_or(&STREETS[0])),
        "email": format!("customer-{customer_id}@example.com"),
        "payment_method": method,
    });
    if method == METHODS[0] {
        order["card_last_four"] = json!(format!("{:04}", dice.random_range(0..10_000)));
    }
    order
}

/// What random transactions are made of.
#[derive(Clone, Debug)]
pub struct TransactionMix {
    /// The smallest amount, in whole units.
    pub min_amount: i64,
    /// The largest amount, in whole units.
    pub max_amount: i64,
    /// Currency codes.
    pub currencies: Vec<String>,
}

impl Default for TransactionMix {
    fn default() -> Self {
        let currencies = ["USD", "EUR", "GBP", "JPY"].map(str::to_owned).to_vec();
        Self { min_amount: 10, max_amount: 1_000, currencies }
    }
}

/// Returns a transaction.
pub fn transaction(dice: &mut ChaCha8Rng, mix: &TransactionMix) -> Value {
    let mut user = || format!("user{}", dice.random_range(1..1_000));
    let (sender, receiver) = (user(), user());
    let amount = dice.random_range(mix.min_amount..=mix.max_amount.max(mix.min_amount));
    let currency = mix.currencies.choose(dice).map_or("USD", String::as_str);
    json!({"sender": sender, "receiver": receiver, "amount": amount, "currency": currency})
}
