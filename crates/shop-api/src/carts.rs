//! Carts of customers: read, write and remove lines.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::api::{Api, CallContext};
use super::auth::Caller;
use super::body::{Faults, Fields};
use super::checkout_request::MAX_LINES;
use super::extract::JsonBody;
use super::order_request::MAX_QUANTITY;
use super::problem::{Problem, ProblemCode};
use super::query::Query;
use super::sku::SkuPath;
use ecom_shop_domain::inventory::Product;
use ecom_shop_store::{CartLine, ReadGuarantee};

/// The routes of carts.
pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(read)).routes(routes!(put, remove))
}

/// The quantity of a line of a cart.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "it documents the body, which is read field by field to name every fault at once"
)]
struct PutCartLine {
    /// The customer; that of a customer's key, else required.
    #[schema(minimum = 1, example = 7)]
    customer_id: Option<i64>,
    /// The quantity.
    #[schema(minimum = 1, maximum = 1_000_000, example = 2)]
    quantity: i64,
}

/// A cart.
#[derive(Serialize, ToSchema)]
#[schema(as = Cart)]
struct CartView {
    /// The lines, by SKU.
    lines: Vec<CartLineView>,
}

/// A line of a cart, with its product as it is now.
#[derive(Serialize, ToSchema)]
struct CartLineView {
    /// The product.
    #[schema(example = "LAPTOP")]
    sku: String,
    /// The quantity.
    quantity: i64,
    /// The name of the product; null if there is no such product any more.
    name: Option<String>,
    /// The price of one.
    #[schema(value_type = Option<f64>)]
    price: Option<Box<RawValue>>,
    /// The currency of the price.
    currency: Option<&'static str>,
    /// The units that can be ordered now.
    available: i64,
    /// True if as many are available as the line has.
    in_stock: bool,
}

impl CartLineView {
    fn of(sku: &str, quantity: i64, product: Option<&Product>) -> Self {
        let available = product.map_or(0, |product| product.stock.available());
        Self {
            sku: sku.to_owned(),
            quantity,
            name: product.map(|product| product.name.clone()),
            price: product.map(|product| product.currency.to_json(product.price_minor)),
            currency: product.map(|product| product.currency.code()),
            available,
            in_stock: quantity <= available,
        }
    }
}

/// Reads the customer of a request without a body.
fn customer_of(caller: &Caller, mut query: Query) -> Result<i64, Problem> {
    let customer_id = caller.customer(query.integer("customer_id", 1..=i64::MAX))?;
    if customer_id.is_none() && query.is_faultless() {
        query.fault("customer_id", "is missing");
    }
    query.finish()?;
    Ok(customer_id.unwrap_or_default())
}

/// Read a cart
///
/// The lines of a customer's cart, with name, price and availability of their products as they are now.
#[utoipa::path(
    get, path = "/cart", tag = "cart", operation_id = "readCart",
    params(("customer_id" = Option<i64>, Query, minimum = 1, example = 7,
        description = "The customer; that of a customer's key, else required")),
    responses((status = 200, description = "The cart", body = CartView))
)]
async fn read(
    State(api): State<Arc<Api>>,
    call: CallContext,
    query: Query,
) -> Result<Json<CartView>, Problem> {
    let customer_id = customer_of(&call.caller, query)?;
    let cart = api.backends.carts.cart(customer_id).await?;
    let products = api.products(cart.iter().map(|line| line.sku.clone())).await?;
    let line = |line: &CartLine| CartLineView::of(&line.sku, line.quantity, products.get(&line.sku));
    Ok(Json(CartView { lines: cart.iter().map(line).collect() }))
}

/// Put a product into a cart
///
/// Replaces the quantity that the cart has of it. Nothing is reserved. A cart has at most 100 lines.
#[utoipa::path(
    put, path = "/cart/{sku}", tag = "cart", operation_id = "putCartLine",
    request_body = PutCartLine,
    params(("sku" = String, Path, description = "The product", example = "LAPTOP",
        max_length = 64, pattern = "^[.]*[A-Za-z0-9_-][A-Za-z0-9._-]*$")),
    responses((status = 200, description = "The line", body = CartLineView))
)]
async fn put(
    State(api): State<Arc<Api>>,
    call: CallContext,
    SkuPath(sku): SkuPath,
    query: Query,
    JsonBody(body): JsonBody,
) -> Result<Json<CartLineView>, Problem> {
    query.finish()?;
    let (mut faults, mut fields) = (Faults::default(), Fields::of_body(&body)?);
    let customer_id = fields.customer(&mut faults, &call.caller)?;
    if customer_id.is_none() && faults.is_empty() {
        fields.fault(&mut faults, "customer_id", "is missing");
    }
    fields.require(&mut faults, &["quantity"]);
    let quantity = fields.integer(&mut faults, "quantity", 1..=MAX_QUANTITY).unwrap_or_default();
    fields.finish(&mut faults);
    faults.check()?;
    let customer_id = customer_id.unwrap_or_default();
    let product = api.backends.inventory.product(&sku, ReadGuarantee::Committed).await?;
    let product = product.ok_or_else(|| Problem::new(ProblemCode::NotFound))?;
    let carts = &api.backends.carts;
    let cart = carts.cart(customer_id).await?;
    let line = cart.iter().find(|line| line.sku == sku);
    if line.is_none() && cart.len() >= MAX_LINES {
        let detail = format!("the cart has {MAX_LINES} lines already");
        return Err(Problem::of_field(ProblemCode::InvalidRequest, "sku", detail));
    }
    carts.put_line(customer_id, &sku, quantity, api.after(line)).await?;
    Ok(Json(CartLineView::of(&sku, quantity, Some(&product))))
}

/// Remove a product from a cart
///
/// A product that the cart does not have is no error.
#[utoipa::path(
    delete, path = "/cart/{sku}", tag = "cart", operation_id = "removeCartLine",
    params(
        ("sku" = String, Path, description = "The product", example = "LAPTOP",
            max_length = 64, pattern = "^[.]*[A-Za-z0-9_-][A-Za-z0-9._-]*$"),
        ("customer_id" = Option<i64>, Query, minimum = 1, example = 7,
            description = "The customer; that of a customer's key, else required"),
    ),
    responses((status = 204, description = "The cart does not have it"))
)]
async fn remove(
    State(api): State<Arc<Api>>,
    call: CallContext,
    SkuPath(sku): SkuPath,
    query: Query,
) -> Result<StatusCode, Problem> {
    let customer_id = customer_of(&call.caller, query)?;
    let carts = &api.backends.carts;
    let cart = carts.cart(customer_id).await?;
    let line = cart.iter().find(|line| line.sku == sku);
    carts.remove_line(customer_id, &sku, api.after(line)).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Api {
    /// Returns the time of a write of a line: now, and later than the line that was read, which another process may have
    /// written whose clock is ahead.
    fn after(&self, line: Option<&CartLine>) -> i64 {
        let now = self.clock.now_us();
        line.map_or(now, |line| now.max(line.written_at.saturating_add(1)))
    }
}
