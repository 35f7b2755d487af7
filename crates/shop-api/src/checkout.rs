//! Checkout: what an order would cost, and placing it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{KeyHeader, keyed};
use super::api::{Api, CallContext};
use super::checkout_request::{Checkout, CheckoutRequest, PreviewCheckout, PreviewRequest};
use super::extract::{IdempotencyKey, JsonBody, NoQuery};
use super::order_request::OrderRequest;
use super::order_view::OrderView;
use super::prefer::{Prefer, PreferHeader};
use super::problem::{Problem, ProblemCode};
use super::quote::Quote;
use ecom_shop_domain::inventory::Product;
use ecom_shop_domain::order::OrderLine;

/// The wait for the payment processor, unless the client prefers another.
const WAIT: Duration = Duration::from_secs(5);

/// The routes of the checkout.
pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(preview)).routes(routes!(create))
}

/// The price of an order that is not placed.
#[derive(Serialize, ToSchema)]
#[schema(as = CheckoutPreview)]
struct PreviewView {
    /// The lines.
    lines: Vec<PreviewLine>,
    /// The units of all lines together.
    item_count: i64,
    /// The price of all lines together.
    #[schema(value_type = f64)]
    merchandise_total: Box<RawValue>,
    /// The shipping fee.
    #[schema(value_type = f64)]
    shipping_fee: Box<RawValue>,
    /// The amount to be paid.
    #[schema(value_type = f64)]
    total: Box<RawValue>,
    /// The currency of all amounts.
    currency: &'static str,
}

/// A line of a preview.
#[derive(Serialize, ToSchema)]
struct PreviewLine {
    /// The product.
    #[schema(example = "LAPTOP")]
    sku: String,
    /// Its name.
    item: String,
    /// The quantity.
    quantity: i64,
    /// The price of one.
    #[schema(value_type = f64)]
    unit_price: Box<RawValue>,
    /// The price of the line.
    #[schema(value_type = f64)]
    line_total: Box<RawValue>,
    /// The units that can be ordered now.
    available: i64,
    /// True if as many are available as the line has.
    in_stock: bool,
}

impl PreviewView {
    fn of(quote: &Quote) -> Self {
        let priced = &quote.priced;
        let line = |(line, product): (&OrderLine, &Product)| {
            let unit_price = line.unit_price_minor.unwrap_or_default();
            let available = product.stock.available();
            PreviewLine {
                sku: product.sku.clone(),
                item: line.item.clone(),
                quantity: line.quantity,
                unit_price: priced.currency.to_json(unit_price),
                line_total: priced.currency.to_json(unit_price * line.quantity),
                available,
                in_stock: line.quantity <= available,
            }
        };
        Self {
            lines: priced.lines.iter().zip(&quote.products).map(line).collect(),
            item_count: priced.item_count,
            merchandise_total: priced.currency.to_json(priced.merchandise_minor),
            shipping_fee: priced.currency.to_json(priced.shipping_minor),
            total: priced.currency.to_json(priced.total_minor()),
            currency: priced.currency.code(),
        }
    }
}

/// Preview a checkout
///
/// The price of the lines, or of the customer's cart, now, and whether as many units are available. Nothing is recorded and
/// nothing reserved.
#[utoipa::path(
    post, path = "/checkout/preview", tag = "checkout", operation_id = "previewCheckout",
    request_body = PreviewCheckout,
    responses((status = 200, description = "Lines and totals", body = PreviewView))
)]
async fn preview(
    State(api): State<Arc<Api>>,
    call: CallContext,
    _: NoQuery,
    JsonBody(body): JsonBody,
) -> Result<Json<PreviewView>, Problem> {
    let asked = PreviewRequest::read(&body, &call.caller)?;
    let quote = api.quote(asked.customer_id, &asked.lines).await?;
    Ok(Json(PreviewView::of(&quote)))
}

/// Check out
///
/// Records an order of the lines, or of the customer's cart, at the prices of now, and waits up to 5 s for the payment
/// processor to reserve the units. Lines of the cart are removed from it once the order is placed. The same request with
/// the same Idempotency-Key is the same order, for ever, whatever has become of prices and cart.
#[utoipa::path(
    post, path = "/checkout", tag = "checkout", operation_id = "checkout",
    request_body = Checkout,
    params(KeyHeader, PreferHeader),
    responses(
        (status = 201, description = "The order, on which the payment processor has decided: see its status",
            body = OrderView, links(
                ("read" = (operation_id = "readOrder", parameters(("order" = "$response.body#/order_id")))),
                ("pay" = (operation_id = "payOrder", parameters(("order" = "$response.body#/order_id")))),
                ("cancel" = (operation_id = "cancelOrder", parameters(("order" = "$response.body#/order_id")))),
            )),
        (status = 202, description = "The order, on which the payment processor has not decided yet; read it",
            body = OrderView, links(
                ("read" = (operation_id = "readOrder", parameters(("order" = "$response.body#/order_id")))),
            )),
    )
)]
async fn create(
    State(api): State<Arc<Api>>,
    call: CallContext,
    IdempotencyKey(key): IdempotencyKey,
    prefer: Prefer,
    _: NoQuery,
    JsonBody(body): JsonBody,
) -> Response {
    let answer = async {
        let asked = CheckoutRequest::read(&body, &call.caller)?;
        let accepted = api.accept_checkout(&call, &key, asked).await?;
        api.answer_order(accepted, prefer.deadline(WAIT), StatusCode::ACCEPTED).await
    };
    prefer.applied(keyed(&key, answer.await))
}

impl Api {
    /// Returns the order of a checkout at the prices of now.
    pub(crate) async fn price_checkout(&self, asked: CheckoutRequest) -> Result<OrderRequest, Problem> {
        let Quote { priced, .. } = self.quote(Some(asked.customer_id), &asked.lines).await?;
        if let Some(expected) = asked.expected_total {
            let (currency, total) = (priced.currency, priced.total_minor());
            let expected = currency.parse(&expected).map_err(|error| {
                Problem::of_field(ProblemCode::InvalidRequest, "/expected_total", error.to_string())
            })?;
            if expected != total {
                let (was, is) = (currency.format(expected), currency.format(total));
                let detail = format!("the total was {was} and is {is} {currency}");
                return Err(Problem::detailed(ProblemCode::TotalChanged, detail));
            }
        }
        let document = asked.delivery.document(priced.lines, priced.merchandise_minor, priced.shipping_minor);
        Ok(OrderRequest::new(asked.customer_id, priced.currency, document))
    }
}
