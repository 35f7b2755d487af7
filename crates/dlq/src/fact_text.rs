//! The halves of a row in a few words, without address and card.

use ecom_domain::fact::Fact;

/// The order, where there is one.
pub fn order(fact: &Fact) -> Option<String> {
    fact.has_order().then(|| {
        format!(
            "customer {}, {} × {} at {}, {}",
            or_dash(fact.order.customer_id),
            or_dash(fact.order.quantity),
            or_dash(fact.order.item.as_deref().map(plain)),
            or_dash(fact.order.price),
            or_dash(fact.order.order_status.as_deref().map(plain)),
        )
    })
}

/// The payment, where there is one.
pub fn payment(fact: &Fact) -> Option<String> {
    fact.payment.payment_id.map(|id| {
        format!(
            "payment {id}, {}, {}",
            or_dash(fact.payment.payment_method.as_deref().map(plain)),
            or_dash(fact.payment.payment_status.as_deref().map(plain)),
        )
    })
}

/// Text of somebody else's on one line, saying nothing to the terminal itself.
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() {
            true => shown.extend(char.escape_default()),
            false => shown.push(char),
        }
    }
    shown
}

/// A value, or a dash.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
