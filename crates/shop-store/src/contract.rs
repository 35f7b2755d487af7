//! The contract suites of the shop's ports. An adapter turns each case into a test with
//! [`order_store_contract_tests!`](crate::order_store_contract_tests),
//! [`payment_store_contract_tests!`](crate::payment_store_contract_tests),
//! [`inventory_store_contract_tests!`](crate::inventory_store_contract_tests) and
//! [`cart_store_contract_tests!`](crate::cart_store_contract_tests), as with the suites of
//! [`ecom_store::contract`]. Cases may share one store.
#![allow(clippy::unwrap_used, reason = "a case that cannot go on has failed")]

pub mod carts;
pub mod inventory;
pub mod orders;
pub mod payments;

use std::sync::atomic::{AtomicI64, Ordering};

use ecom_domain::order::OrderId;
use ecom_shop_domain::identity::{FIRST, RequestKey};
use ecom_shop_domain::money::Currency;
use ecom_shop_domain::order::{Evidence, NextMove, OrderDocument, OrderLine, OrderRecord, OrderState};
use ecom_shop_domain::payment::{PaymentRecord, PaymentState};
use ecom_shop_domain::policy::OrderPolicy;

/// The time of the cases.
const NOW: i64 = 1_750_000_000_000_000;
const SECOND: i64 = 1_000_000;

/// Returns a number that no other case uses.
fn own() -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn request() -> RequestKey {
    RequestKey { account: "shop \"ünï\"".into(), key: format!("cart-{}", own()) }
}

/// Returns a new order of this customer, created at that time.
fn order_at(customer_id: i64, created_at: i64) -> OrderRecord {
    OrderRecord {
        order_id: OrderId(FIRST + own()),
        request: request(),
        fingerprint: "00ff".repeat(16),
        customer_id,
        currency: Currency::try_new("JPY").unwrap(),
        total_minor: 1_500,
        document: OrderDocument {
            lines: vec![
                OrderLine {
                    item: "Maus 🐭 \"x\"".into(),
                    sku: Some("MAUS-1".into()),
                    in_cart_since: Some(NOW - 1),
                    quantity: 2,
                    unit_price_minor: Some(250),
                },
                OrderLine { item: "Laptop".into(), quantity: 1, ..OrderLine::default() },
            ],
            merchandise_minor: 1_490,
            shipping_minor: 10,
            shipping_address: "1 Main St\nSpringfield".into(),
            email: Some("ada@example.com".into()),
            payment_method: Some("Credit Card".into()),
            card_last_four: Some("0042".into()),
        },
        created_at,
        state: OrderState::Accepted,
        state_at: created_at,
        revision: 0,
        attempt: 0,
        due_at: Some(created_at + 3_600 * SECOND),
        detail: None,
        notice: None,
    }
}

fn order() -> OrderRecord {
    order_at(7, NOW)
}

/// Returns the record after its next move, at `now`.
fn moved(order: &OrderRecord, evidence: Evidence<'_>, now: i64) -> OrderRecord {
    match order.next(evidence, &OrderPolicy::default(), now) {
        NextMove::To(next) => *next,
        NextMove::Wait(until) => panic!("it waits until {until:?}"),
    }
}

fn transaction_at(created_at: i64) -> PaymentRecord {
    PaymentRecord {
        payment_id: FIRST + own(),
        request: request(),
        fingerprint: "f".into(),
        of_order: None,
        sender: "user123".into(),
        receiver: "user456".into(),
        payment_method: None,
        card_last_four: None,
        amount_minor: 10_000,
        currency: Currency::try_new("USD").unwrap(),
        created_at,
        state: PaymentState::Pending,
        state_at: created_at,
        processing_at: None,
        revision: 0,
        due_at: Some(created_at + 3_600 * SECOND),
        error_message: None,
    }
}

/// Defines a test for each case of the [`OrderStore`](crate::OrderStore) contract. `$subject` is the path of an async
/// function that returns `Option<Subject<dyn OrderStore>>`.
#[macro_export]
macro_rules! order_store_contract_tests {
    ($subject:path) => {
        $crate::order_record_contract_tests!($subject);
    };
}

/// Defines a test for each case of the [`PaymentStore`](crate::PaymentStore) contract. `$subject` is the path of an async
/// function that returns `Option<Subject<dyn PaymentStore>>`.
#[macro_export]
macro_rules! payment_store_contract_tests {
    ($subject:path) => {
        $crate::payment_record_contract_tests!($subject);
    };
}

/// Defines a test for each case of the [`InventoryStore`](crate::InventoryStore) contract. `$subject` is the path of an async
/// function that returns `Option<Subject<dyn InventoryStore>>`.
#[macro_export]
macro_rules! inventory_store_contract_tests {
    ($subject:path) => {
        $crate::inventory_contract_tests!($subject);
    };
}

/// Defines a test for each case of the [`CartStore`](crate::CartStore) contract. `$subject` is the path of an async function
/// that returns `Option<Subject<dyn CartStore>>`.
#[macro_export]
macro_rules! cart_store_contract_tests {
    ($subject:path) => {
        $crate::cart_contract_tests!($subject);
    };
}
