//! Orders and confirmations of the tests.

use ecom_domain::order::OrderId;
use ecom_shop_domain::identity::{FIRST, RequestKey};
use ecom_shop_domain::money::Currency;
use ecom_shop_domain::order::{OrderDocument, OrderLine, OrderRecord, OrderState};
use ecom_shop_notifier::confirmation::Confirmation;

/// 2025-06-15 15:06:40 UTC.
pub(crate) const NOW: i64 = 1_750_000_000_000_007;

/// Returns the paid order with this number.
pub(crate) fn order(n: i64) -> OrderRecord {
    let line = |item: &str, quantity, price| OrderLine {
        item: item.into(),
        quantity,
        unit_price_minor: price,
        ..OrderLine::default()
    };
    OrderRecord {
        order_id: OrderId(FIRST + n),
        request: RequestKey { account: "shop".into(), key: format!("cart-{n}") },
        fingerprint: "f".into(),
        customer_id: 7,
        currency: Currency::try_new("USD").unwrap(),
        total_minor: 200_799,
        document: OrderDocument {
            lines: vec![line("Laptop", 2, Some(99_900)), line("Mouse", 1, None)],
            merchandise_minor: 199_799,
            shipping_minor: 1_000,
            shipping_address: "1 Main St\nSpringfield".into(),
            email: Some("ada@example.com".into()),
            payment_method: None,
            card_last_four: None,
        },
        created_at: NOW,
        state: OrderState::Paid,
        state_at: NOW,
        revision: 2,
        attempt: 1,
        due_at: Some(NOW + 50_000_000),
        detail: None,
        notice: None,
    }
}

/// Returns the first confirmation of an order.
pub(crate) fn confirmation(order: &OrderRecord) -> Confirmation<'_> {
    Confirmation { order, again_after: None, at: NOW }
}
