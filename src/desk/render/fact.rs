//! The halves of a row in a few words, without address and card.

use super::{or_dash, plain};
use crate::domain::fact::Fact;

/// The order, where there is one.
pub(crate) fn order(fact: &Fact) -> Option<String> {
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
pub(crate) fn payment(fact: &Fact) -> Option<String> {
    fact.payment.payment_id.map(|id| {
        format!(
            "payment {id}, {}, {}",
            or_dash(fact.payment.payment_method.as_deref().map(plain)),
            or_dash(fact.payment.payment_status.as_deref().map(plain)),
        )
    })
}
