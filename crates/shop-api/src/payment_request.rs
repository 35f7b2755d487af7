//! The request to pay an order.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Faults, Fields};
use super::problem::{Problem, ProblemCode};
use ecom_shop_domain::order::OrderRecord;

/// A payment of an order.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "it documents the body, which is read field by field to name every fault at once"
)]
pub(crate) struct CreatePayment {
    /// The method.
    #[schema(min_length = 1, max_length = 255, example = "Credit Card")]
    payment_method: String,
    /// The last four digits of the card.
    #[schema(pattern = "^[0-9]{4}$", example = "4242")]
    card_last_four: Option<String>,
    /// The total of the order; another amount is refused.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64, example = 1998.00)]
    amount: Option<f64>,
}

/// A payment that was asked for.
#[derive(Serialize)]
pub(crate) struct PaymentRequest {
    pub(crate) payment_method: String,
    pub(crate) card_last_four: Option<String>,
    /// The amount in minor units, if the request names one.
    pub(crate) amount_minor: Option<i64>,
}

impl PaymentRequest {
    /// Reads the body of a request to pay this order.
    pub(crate) fn read(body: &[u8], order: &OrderRecord) -> Result<Self, Problem> {
        let mut faults = Faults::default();
        let mut fields = Fields::of_body(body)?;
        fields.require(&mut faults, &["payment_method"]);
        let payment_method = fields.text(&mut faults, "payment_method", 255);
        let card_last_four = fields.card_last_four(&mut faults);
        let amount_minor = fields.amount(&mut faults, "amount", order.currency, 0);
        fields.finish(&mut faults);
        faults.check()?;
        if amount_minor.is_some_and(|amount| amount != order.total_minor) {
            let detail = format!("the total of the order is {}", order.currency.format(order.total_minor));
            return Err(Problem::detailed(ProblemCode::AmountMismatch, detail));
        }
        Ok(Self { payment_method: payment_method.unwrap_or_default(), card_last_four, amount_minor })
    }
}
