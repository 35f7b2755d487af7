//! The requests to preview and to check out lines of products.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::Caller;
use super::body::{Faults, Fields};
use super::order_request::{Delivery, MAX_QUANTITY};
use super::problem::Problem;

/// The most lines of an order, and of a cart.
pub(crate) const MAX_LINES: usize = 100;

/// A checkout to preview.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "it documents the body, which is read field by field to name every fault at once"
)]
pub(crate) struct PreviewCheckout {
    /// The customer whose cart it is; that of a customer's key, else required where the cart is needed.
    #[schema(minimum = 1, example = 7)]
    customer_id: Option<i64>,
    /// The lines to order; without them, the whole cart.
    #[schema(min_items = 1, max_items = 100)]
    lines: Option<Vec<CheckoutLine>>,
    /// The address to ship it to.
    #[schema(min_length = 1, max_length = 1000, example = "1 Main St")]
    shipping_address: Option<String>,
}

/// An order to place.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "it documents the body, which is read field by field to name every fault at once"
)]
pub(crate) struct Checkout {
    /// The customer; that of a customer's key, else required.
    #[schema(minimum = 1, example = 7)]
    customer_id: Option<i64>,
    /// The lines to order; without them, the whole cart.
    #[schema(min_items = 1, max_items = 100)]
    lines: Option<Vec<CheckoutLine>>,
    /// The address to ship it to.
    #[schema(min_length = 1, max_length = 1000, example = "1 Main St")]
    shipping_address: String,
    /// The address to send the confirmation to.
    #[schema(min_length = 1, max_length = 255, example = "ada@example.com")]
    email: Option<String>,
    /// The method to pay with at once. Without one, the order waits for a payment.
    #[schema(min_length = 1, max_length = 255, example = "Credit Card")]
    payment_method: Option<String>,
    /// The last four digits of the card.
    #[schema(pattern = "^[0-9]{4}$", example = "4242")]
    card_last_four: Option<String>,
    /// The total that the customer has seen; another one is refused.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64, example = 2008.00)]
    expected_total: Option<f64>,
}

/// A line to preview or to order.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "it documents the body, which is read field by field to name every fault at once"
)]
pub(crate) struct CheckoutLine {
    /// The product.
    #[schema(max_length = 64, pattern = "^[.]*[A-Za-z0-9_-][A-Za-z0-9._-]*$", example = "LAPTOP")]
    sku: String,
    /// The quantity; without it, that of the cart, from which the line is removed once the order is placed.
    #[schema(minimum = 1, maximum = 1_000_000, example = 2)]
    quantity: Option<i64>,
}

/// The lines that a request names; `None` for those of the cart.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct WantedLines(pub(crate) Option<Vec<NamedLine>>);

/// A line that a request names.
#[derive(Serialize)]
pub(crate) struct NamedLine {
    pub(crate) sku: String,
    /// The units; `None` for as many as in the cart.
    pub(crate) quantity: Option<i64>,
}

impl WantedLines {
    fn read(fields: &mut Fields<'_>, faults: &mut Faults) -> Self {
        let Some(lines) = fields.objects(faults, "lines", MAX_LINES) else { return Self(None) };
        let mut seen = BTreeSet::new();
        let mut named = Vec::with_capacity(lines.len());
        for mut line in lines {
            line.require(faults, &["sku"]);
            let sku = line.sku(faults).unwrap_or_default();
            if !sku.is_empty() && !seen.insert(sku.clone()) {
                line.fault(faults, "sku", "is that of a line above");
            }
            let quantity = line.integer(faults, "quantity", 1..=MAX_QUANTITY);
            line.finish(faults);
            named.push(NamedLine { sku, quantity });
        }
        Self(Some(named))
    }

    /// Returns whether a quantity is that of the cart.
    pub(crate) fn need_the_cart(&self) -> bool {
        self.0.as_ref().is_none_or(|lines| lines.iter().any(|line| line.quantity.is_none()))
    }

    /// Returns the pointer to a field of a line; to all lines where those of the cart are meant.
    pub(crate) fn pointer(&self, at: usize, field: &str) -> String {
        if self.0.is_some() { format!("/lines/{at}/{field}") } else { "/lines".to_owned() }
    }

    /// Returns the fault of a line, which names its product where the pointer does not.
    pub(crate) fn about(&self, sku: &str, fault: &str) -> String {
        if self.0.is_some() { fault.to_owned() } else { format!("{sku} of the cart {fault}") }
    }
}

/// A preview that was asked for.
pub(crate) struct PreviewRequest {
    /// The customer, where the cart is needed.
    pub(crate) customer_id: Option<i64>,
    pub(crate) lines: WantedLines,
}

impl PreviewRequest {
    /// Reads the body of a request.
    pub(crate) fn read(body: &[u8], caller: &Caller) -> Result<Self, Problem> {
        let (mut faults, mut fields) = (Faults::default(), Fields::of_body(body)?);
        let customer_id = fields.customer(&mut faults, caller)?;
        let lines = WantedLines::read(&mut fields, &mut faults);
        if customer_id.is_none() && faults.is_empty() && lines.need_the_cart() {
            fields.fault(&mut faults, "customer_id", "is missing: quantities are those of the cart");
        }
        Delivery::read_address(&mut fields, &mut faults);
        fields.finish(&mut faults);
        faults.check().map(|()| Self { customer_id, lines })
    }
}

/// A checkout that was asked for.
#[derive(Serialize)]
pub(crate) struct CheckoutRequest {
    pub(crate) customer_id: i64,
    pub(crate) lines: WantedLines,
    pub(crate) delivery: Delivery,
    /// The total that the customer has seen, as a decimal in whole units of the currency.
    pub(crate) expected_total: Option<String>,
}

impl CheckoutRequest {
    /// Reads the body of a request.
    pub(crate) fn read(body: &[u8], caller: &Caller) -> Result<Self, Problem> {
        let (mut faults, mut fields) = (Faults::default(), Fields::of_body(body)?);
        let customer_id = fields.customer(&mut faults, caller)?;
        if customer_id.is_none() && faults.is_empty() {
            fields.fault(&mut faults, "customer_id", "is missing");
        }
        fields.require(&mut faults, &["shipping_address"]);
        let lines = WantedLines::read(&mut fields, &mut faults);
        let delivery = Delivery::read(&mut fields, &mut faults);
        let expected_total = fields.decimal(&mut faults, "expected_total");
        fields.finish(&mut faults);
        faults.check()?;
        Ok(Self { customer_id: customer_id.unwrap_or_default(), lines, delivery, expected_total })
    }
}
