//! The request to create an order.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Faults, Fields};
use super::problem::Problem;
use super::schemas;
use ecom_shop_domain::money::{Currency, MAX_MINOR};
use ecom_shop_domain::order::{OrderDocument, OrderLine};

/// The largest quantity of a line.
const MAX_QUANTITY: i64 = 1_000_000;
/// The most lines of an order.
const MAX_LINES: usize = 100;
/// The longest text of a field, in characters.
const MAX_TEXT: usize = 255;
/// The longest shipping address, in characters.
const MAX_ADDRESS: usize = 1_000;

/// An order to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "it documents the body, which is read field by field to name every fault at once"
)]
pub(crate) struct CreateOrder {
    /// The customer.
    #[schema(minimum = 1, example = 7)]
    customer_id: i64,
    /// What is ordered.
    #[schema(min_items = 1, max_items = 100)]
    lines: Vec<CreateLine>,
    /// The price of all lines together; required if a line has no unit_price, and otherwise their sum.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64, example = 1998.00)]
    total_amount: Option<f64>,
    /// Currency code of ISO 4217; USD by default.
    #[schema(schema_with = schemas::currency_or_usd)]
    currency: Option<String>,
    /// Where to ship it.
    #[schema(min_length = 1, max_length = 1000, example = "1 Main St")]
    shipping_address: String,
    /// Where to send the confirmation.
    #[schema(min_length = 1, max_length = 255, example = "ada@example.com")]
    email: Option<String>,
    /// The method to pay with at once. Without one, the order waits for a payment.
    #[schema(min_length = 1, max_length = 255, example = "Credit Card")]
    payment_method: Option<String>,
    /// The last four digits of the card.
    #[schema(pattern = "^[0-9]{4}$", example = "4242")]
    card_last_four: Option<String>,
}

/// A line of an order to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "it documents the body, which is read field by field to name every fault at once"
)]
pub(crate) struct CreateLine {
    /// The name of the item.
    #[schema(min_length = 1, max_length = 255, example = "Laptop")]
    item: String,
    /// How many.
    #[schema(minimum = 1, maximum = 1_000_000, example = 2)]
    quantity: i64,
    /// The price of one.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64, example = 999.00)]
    unit_price: Option<f64>,
}

/// An order that was asked for.
#[derive(Serialize)]
pub(crate) struct OrderRequest {
    pub(crate) customer_id: i64,
    #[serde(serialize_with = "code")]
    pub(crate) currency: Currency,
    pub(crate) document: OrderDocument,
}

/// Writes a currency as its code.
pub(crate) fn code<S: serde::Serializer>(currency: &Currency, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(currency.code())
}

impl OrderRequest {
    /// Reads the body of a request.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Problem> {
        let mut faults = Faults::default();
        let mut fields = Fields::of_body(body)?;
        fields.require(&mut faults, &["customer_id", "lines", "shipping_address"]);
        let currency = fields.currency(&mut faults, "currency");
        let customer_id = fields.integer(&mut faults, "customer_id", 1..=i64::MAX);
        let names_total = fields.has("total_amount");
        let total = fields.amount(&mut faults, "total_amount", currency, 0);
        let lines = fields.objects(&mut faults, "lines", MAX_LINES).unwrap_or_default();
        let shipping_address = fields.text(&mut faults, "shipping_address", MAX_ADDRESS);
        let email = fields.text(&mut faults, "email", MAX_TEXT);
        let payment_method = fields.text(&mut faults, "payment_method", MAX_TEXT);
        let card_last_four = fields.card_last_four(&mut faults);
        if card_last_four.is_some() && payment_method.is_none() {
            fields.fault(&mut faults, "card_last_four", "needs a payment_method");
        }
        let names_all_prices = lines.iter().all(|line| line.has("unit_price"));
        let lines: Vec<OrderLine> =
            lines.into_iter().map(|line| read_line(line, &mut faults, currency)).collect();
        if !names_total && !names_all_prices {
            fields.fault(&mut faults, "total_amount", "is missing: a line has no unit_price");
        }
        let of_lines = sum(&lines);
        if faults.is_empty() && of_lines.is_some_and(|sum| sum > i128::from(MAX_MINOR)) {
            fields.fault(&mut faults, "lines", "are too expensive together");
        }
        if faults.is_empty() && of_lines.zip(total).is_some_and(|(sum, total)| sum != i128::from(total)) {
            fields.fault(&mut faults, "total_amount", "is not the sum of the lines");
        }
        fields.finish(&mut faults);
        faults.check()?;
        let of_lines = of_lines.and_then(|sum| i64::try_from(sum).ok());
        Ok(Self {
            customer_id: customer_id.unwrap_or_default(),
            currency,
            document: OrderDocument {
                lines,
                merchandise_minor: of_lines.or(total).unwrap_or_default(),
                shipping_minor: 0,
                shipping_address: shipping_address.unwrap_or_default(),
                email,
                payment_method,
                card_last_four,
            },
        })
    }
}

fn read_line(mut fields: Fields<'_>, faults: &mut Faults, currency: Currency) -> OrderLine {
    fields.require(faults, &["item", "quantity"]);
    let item = fields.text(faults, "item", MAX_TEXT);
    let quantity = fields.integer(faults, "quantity", 1..=MAX_QUANTITY);
    let unit_price_minor = fields.amount(faults, "unit_price", currency, 0);
    fields.finish(faults);
    OrderLine {
        item: item.unwrap_or_default(),
        quantity: quantity.unwrap_or_default(),
        unit_price_minor,
        ..OrderLine::default()
    }
}

/// Returns the price of all lines together; `None` if a line has no price.
fn sum(lines: &[OrderLine]) -> Option<i128> {
    if lines.is_empty() {
        return None;
    }
    lines.iter().map(|line| Some(i128::from(line.unit_price_minor?) * i128::from(line.quantity))).sum()
}
