//! The request to create an order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Faults, Fields};
use super::checkout_request::MAX_LINES;
use super::problem::Problem;
use super::schemas;
use ecom_shop_domain::inventory::Product;
use ecom_shop_domain::money::{Currency, MAX_MINOR};
use ecom_shop_domain::order::{OrderDocument, OrderLine};

/// The largest quantity of a line.
pub(crate) const MAX_QUANTITY: i64 = 1_000_000;
/// The longest text of a field, in characters.
const MAX_TEXT: usize = 255;
/// The longest shipping address, in characters.
const MAX_ADDRESS: usize = 1_000;

/// An order to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
// As it stands, so that "Try it out" succeeds where there are no products.
#[schema(example = json!({
    "customer_id": 7,
    "lines": [{"item": "Laptop", "quantity": 2, "unit_price": 999}],
    "shipping_address": "1 Main St",
    "email": "ada@example.com",
    "payment_method": "Credit Card",
    "card_last_four": "4242"
}))]
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
    /// The price of all lines together; required if an item has no unit_price, and otherwise their sum.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64, example = 1998.00)]
    total_amount: Option<f64>,
    /// Currency code of ISO 4217; USD by default. Products must be priced in it.
    #[schema(schema_with = schemas::currency_or_usd)]
    currency: Option<String>,
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
}

/// A line of an order to create.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(
    dead_code,
    reason = "it documents the body, which is read field by field to name every fault at once"
)]
pub(crate) enum CreateLine {
    Item(ItemLine),
    Product(ProductLine),
}

/// A line of any item, at the price that it names.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "it documents the body, which is read field by field to name every fault at once"
)]
pub(crate) struct ItemLine {
    /// The name of the item.
    #[schema(min_length = 1, max_length = 255, example = "Laptop")]
    item: String,
    /// The quantity.
    #[schema(minimum = 1, maximum = 1_000_000, example = 2)]
    quantity: i64,
    /// The price of one.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64, example = 999.00)]
    unit_price: Option<f64>,
}

/// A line of a product, at its name and price of now. Its units are reserved.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "it documents the body, which is read field by field to name every fault at once"
)]
pub(crate) struct ProductLine {
    /// The product.
    #[schema(max_length = 64, pattern = "^[.]*[A-Za-z0-9_-][A-Za-z0-9._-]*$", example = "LAPTOP")]
    sku: String,
    /// The quantity.
    #[schema(minimum = 1, maximum = 1_000_000, example = 2)]
    quantity: i64,
}

/// An order that was asked for.
#[derive(Serialize)]
pub(crate) struct OrderRequest {
    pub(crate) customer_id: i64,
    #[serde(serialize_with = "code")]
    pub(crate) currency: Currency,
    /// The lines. Those of products have neither a name nor a price before they are priced.
    pub(crate) document: OrderDocument,
    /// The price of all lines together that the request names.
    #[serde(skip)]
    total: Option<i64>,
}

/// The delivery and the payment of an order.
#[derive(Serialize)]
pub(crate) struct Delivery {
    shipping_address: String,
    email: Option<String>,
    payment_method: Option<String>,
    card_last_four: Option<String>,
}

impl Delivery {
    /// Reads the fields of a request.
    pub(crate) fn read(fields: &mut Fields<'_>, faults: &mut Faults) -> Self {
        let shipping_address = Self::read_address(fields, faults).unwrap_or_default();
        let email = fields.text(faults, "email", MAX_TEXT);
        let payment_method = fields.text(faults, "payment_method", MAX_TEXT);
        let card_last_four = fields.card_last_four(faults);
        if card_last_four.is_some() && payment_method.is_none() {
            fields.fault(faults, "card_last_four", "needs a payment_method");
        }
        Self { shipping_address, email, payment_method, card_last_four }
    }

    /// Reads where to ship; `None` if it is absent.
    pub(crate) fn read_address(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<String> {
        fields.text(faults, "shipping_address", MAX_ADDRESS)
    }

    /// Returns what is ordered: these lines, with these amounts in minor units.
    pub(crate) fn document(
        self,
        lines: Vec<OrderLine>,
        merchandise_minor: i64,
        shipping_minor: i64,
    ) -> OrderDocument {
        OrderDocument {
            lines,
            merchandise_minor,
            shipping_minor,
            shipping_address: self.shipping_address,
            email: self.email,
            payment_method: self.payment_method,
            card_last_four: self.card_last_four,
        }
    }
}

/// Writes a currency as its code.
pub(crate) fn code<S: serde::Serializer>(currency: &Currency, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(currency.code())
}

impl OrderRequest {
    /// Returns the request for an order whose lines have their prices.
    pub(crate) fn new(customer_id: i64, currency: Currency, document: OrderDocument) -> Self {
        Self { customer_id, currency, document, total: None }
    }

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
        let delivery = Delivery::read(&mut fields, &mut faults);
        let names_all_prices =
            lines.iter().all(|line| line.has("unit_price") || line.has("sku") || !line.has("item"));
        let lines: Vec<OrderLine> =
            lines.into_iter().map(|line| read_line(line, &mut faults, currency)).collect();
        if !names_total && !names_all_prices {
            fields.fault(&mut faults, "total_amount", "is missing: a line has no unit_price");
        }
        let merchandise = merchandise(&lines, total, &mut faults);
        fields.finish(&mut faults);
        faults.check()?;
        let document = delivery.document(lines, merchandise, 0);
        Ok(Self { customer_id: customer_id.unwrap_or_default(), currency, document, total })
    }

    /// Returns the products of the lines.
    pub(crate) fn skus(&self) -> impl Iterator<Item = String> {
        self.document.lines.iter().filter_map(|line| line.sku.clone())
    }

    /// Returns the order with the names and prices of its products.
    ///
    /// # Errors
    /// Products that are not there or are priced in another currency, and a total that is not the sum.
    pub(crate) fn priced(mut self, products: &BTreeMap<String, Product>) -> Result<Self, Problem> {
        let mut faults = Faults::default();
        for (at, line) in self.document.lines.iter_mut().enumerate() {
            let Some(sku) = &line.sku else { continue };
            let pointer = format!("/lines/{at}/sku");
            match products.get(sku) {
                Some(product) if product.currency == self.currency => {
                    line.item.clone_from(&product.name);
                    line.unit_price_minor = Some(product.price_minor);
                }
                Some(product) => {
                    let detail =
                        format!("is priced in {}, and the order is in {}", product.currency, self.currency);
                    faults.add(pointer, detail);
                }
                None => faults.add(pointer, "is not a product"),
            }
        }
        self.document.merchandise_minor = merchandise(&self.document.lines, self.total, &mut faults);
        faults.check().map(|()| self)
    }
}

fn read_line(mut fields: Fields<'_>, faults: &mut Faults, currency: Currency) -> OrderLine {
    fields.require(faults, &["quantity"]);
    match (fields.has("item"), fields.has("sku")) {
        (false, false) => fields.fault(faults, "item", "is missing, and so is sku"),
        (true, true) => fields.fault(faults, "sku", "is not given beside item"),
        (false, true) if fields.has("unit_price") => {
            fields.fault(faults, "unit_price", "is not given beside sku: a product has its own price");
        }
        (false, true) | (true, false) => {}
    }
    let item = fields.text(faults, "item", MAX_TEXT);
    let sku = fields.sku(faults);
    let quantity = fields.integer(faults, "quantity", 1..=MAX_QUANTITY);
    let unit_price_minor = fields.amount(faults, "unit_price", currency, 0);
    fields.finish(faults);
    OrderLine {
        item: item.unwrap_or_default(),
        sku,
        quantity: quantity.unwrap_or_default(),
        unit_price_minor,
        ..OrderLine::default()
    }
}

/// Returns the price of all lines together: their sum, or the total that is named where a line has no price. Unless there
/// are other faults, notes a sum that is too large or is not that total.
fn merchandise(lines: &[OrderLine], total: Option<i64>, faults: &mut Faults) -> i64 {
    let Some(sum) = sum(lines) else { return total.unwrap_or_default() };
    if faults.is_empty() && sum > i128::from(MAX_MINOR) {
        faults.add("/lines", "are too expensive together");
    }
    if faults.is_empty() && total.is_some_and(|total| sum != i128::from(total)) {
        faults.add("/total_amount", "is not the sum of the lines");
    }
    i64::try_from(sum).unwrap_or(MAX_MINOR)
}

/// Returns the price of all lines together; `None` if a line has no price.
fn sum(lines: &[OrderLine]) -> Option<i128> {
    if lines.is_empty() {
        return None;
    }
    lines.iter().map(|line| Some(i128::from(line.unit_price_minor?) * i128::from(line.quantity))).sum()
}
