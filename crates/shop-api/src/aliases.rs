//! The URLs of the first reference system, so that its command lines and its load test run unmodified.
//!
//! They record orders as `/api/v1/orders` does. What their requests leave out is filled in: customer 1, price 0, no
//! address, payment on account. A status in the body is accepted and ignored.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{KeyHeader, created, keyed};
use super::api::{Api, CallContext};
use super::body::{Faults, Fields, default_currency};
use super::extract::{IdempotencyKey, JsonBody, NoQuery, StaffCall};
use super::order_request::OrderRequest;
use super::orders::{OrderMetrics, location};
use super::pages::{PageParameters, PageRequest, token};
use super::problem::Problem;
use super::query::Query;
use super::schemas;
use ecom_shop_domain::gateway::INVOICE;
use ecom_shop_domain::order::{OrderDocument, OrderLine, OrderRecord};
use ecom_shop_store::ReadGuarantee;

/// The address of orders without one.
const NO_ADDRESS: &str = "not given";

/// The routes of the first reference system.
pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(status))
        .routes(routes!(ids))
        .routes(routes!(metrics))
        .routes(routes!(create_by_name))
        .routes(routes!(ids_of_load_test))
}

/// An order of the first reference system.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "it documents the body, which is read field by field to name every fault at once"
)]
struct ReferenceOrder {
    /// The customer.
    #[schema(minimum = 1, example = 1)]
    user_id: i64,
    /// The client's own id of the order, which is its idempotency key.
    #[schema(pattern = "^[!-~]{1,255}$", example = "order-1")]
    order_id: String,
    /// The items ordered.
    #[schema(schema_with = schemas::item_ids)]
    item_ids: Vec<i64>,
    /// The price of all items together.
    #[schema(minimum = 0, maximum = 10_000_000_000_i64, example = 99.90)]
    total_amount: f64,
    /// Accepted and ignored.
    #[schema(min_length = 1, max_length = 255, example = "Pending")]
    status: Option<String>,
}

/// An order of the load test of the first reference system.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "it documents the body, which is read field by field to name every fault at once"
)]
struct LoadTestOrder {
    /// The item.
    #[schema(min_length = 1, max_length = 255, example = "Phone")]
    product_name: String,
    /// The quantity.
    #[schema(minimum = 1, maximum = 1_000_000, example = 2)]
    quantity: i64,
}

/// The id and status of an order.
#[derive(Serialize, ToSchema)]
struct OrderStatus {
    /// The client's own id of the order.
    order_id: String,
    /// Pending, Processing, Completed, Cancelled or Refused.
    status: &'static str,
}

/// The id of an order.
#[derive(Serialize, ToSchema)]
struct ReferenceId {
    /// The client's own id of the order.
    order_id: String,
}

impl OrderStatus {
    fn of(order: &OrderRecord) -> Self {
        Self { order_id: order.request.key.clone(), status: order.state.status() }
    }
}

/// Returns the order that a request asks for, with what it leaves out filled in.
fn asked(customer_id: i64, lines: Vec<OrderLine>, merchandise_minor: i64) -> OrderRequest {
    let document = OrderDocument {
        lines,
        merchandise_minor,
        shipping_minor: 0,
        shipping_address: NO_ADDRESS.to_owned(),
        email: None,
        payment_method: Some(INVOICE.to_owned()),
        card_last_four: None,
    };
    OrderRequest::new(customer_id, default_currency(), document)
}

async fn record(api: &Api, call: &CallContext, key: &str, asked: OrderRequest) -> Response {
    let answer = async {
        let accepted = api.accept_order(call, key, asked).await?;
        let location = location(accepted.record.order_id.0);
        Ok(created(&location, accepted.is_replayed, OrderStatus::of(&accepted.record)))
    };
    keyed(key, answer.await)
}

/// Create an order (first reference system)
///
/// Its order_id is the idempotency key.
#[utoipa::path(
    post, path = "/api/orders/create/", tag = "as in the reference systems", operation_id = "referenceCreate",
    request_body = ReferenceOrder,
    responses(
        (status = 201, description = "Its id and status", body = OrderStatus, links(
            ("status" = (operation_id = "referenceStatus", parameters(("order_id" = "$response.body#/order_id")))),
        )),
    )
)]
async fn create(
    State(api): State<Arc<Api>>,
    StaffCall(call): StaffCall,
    _: NoQuery,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let (mut faults, mut fields) = (Faults::default(), Fields::of_body(&body)?);
    fields.require(&mut faults, &["user_id", "order_id", "item_ids", "total_amount"]);
    let customer_id = fields.integer(&mut faults, "user_id", 1..=i64::MAX).unwrap_or_default();
    let key = fields.text(&mut faults, "order_id", 255).unwrap_or_default();
    let items = fields.integers(&mut faults, "item_ids", 100).unwrap_or_default();
    let total = fields.amount(&mut faults, "total_amount", default_currency(), 0).unwrap_or_default();
    fields.text(&mut faults, "status", 255);
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        fields.fault(&mut faults, "order_id", "must be visible ASCII characters");
    }
    fields.finish(&mut faults);
    faults.check()?;
    let line = |id| OrderLine { item: format!("Item {id}"), quantity: 1, ..OrderLine::default() };
    let lines = items.into_iter().map(line).collect();
    Ok(record(&api, &call, &key, asked(customer_id, lines, total)).await)
}

/// Read the status of an order (first reference system)
#[utoipa::path(
    get, path = "/api/orders/{order_id}/status/", tag = "as in the reference systems", operation_id = "referenceStatus",
    params(("order_id" = String, Path, description = "The client's own id of the order, or ours",
        max_length = 255, pattern = "^[!-~]+$")),
    responses((status = 200, description = "Its id and status", body = OrderStatus))
)]
async fn status(
    State(api): State<Arc<Api>>,
    call: CallContext,
    Path(order_id): Path<String>,
    _: NoQuery,
) -> Result<Json<OrderStatus>, Problem> {
    let order = api.find_order(&call.caller, &order_id, ReadGuarantee::Committed).await?;
    Ok(Json(OrderStatus::of(&order)))
}

/// List the ids of orders (first reference system)
///
/// A list without a wrapper; the Link header names the next page.
#[utoipa::path(
    get, path = "/api/orders/ids/", tag = "as in the reference systems", operation_id = "referenceIds",
    params(PageParameters),
    responses((status = 200, description = "A page of ids", body = Vec<ReferenceId>,
        headers(("Link" = Option<String>, description = "The next page, with rel=next"))))
)]
async fn ids(State(api): State<Arc<Api>>, _: StaffCall, query: Query) -> Result<Response, Problem> {
    page_of_ids(&api, query, "/api/orders/ids/").await
}

/// Count orders (first reference system)
#[utoipa::path(
    get, path = "/api/metrics/", tag = "as in the reference systems", operation_id = "referenceMetrics",
    responses((status = 200, description = "The counts", body = OrderMetrics))
)]
async fn metrics(
    State(api): State<Arc<Api>>,
    _: StaffCall,
    _: NoQuery,
) -> Result<Json<OrderMetrics>, Problem> {
    OrderMetrics::read(&api).await.map(Json)
}

/// Create an order (load test of the first reference system)
#[utoipa::path(
    post, path = "/orders/", tag = "as in the reference systems", operation_id = "loadTestCreate",
    request_body = LoadTestOrder,
    params(KeyHeader),
    responses(
        (status = 201, description = "Its id and status", body = OrderStatus, links(
            ("status" = (operation_id = "referenceStatus", parameters(("order_id" = "$response.body#/order_id")))),
        )),
    )
)]
async fn create_by_name(
    State(api): State<Arc<Api>>,
    StaffCall(call): StaffCall,
    IdempotencyKey(key): IdempotencyKey,
    _: NoQuery,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let (mut faults, mut fields) = (Faults::default(), Fields::of_body(&body)?);
    fields.require(&mut faults, &["product_name", "quantity"]);
    let item = fields.text(&mut faults, "product_name", 255).unwrap_or_default();
    let quantity = fields.integer(&mut faults, "quantity", 1..=1_000_000).unwrap_or_default();
    fields.finish(&mut faults);
    faults.check()?;
    let line = OrderLine { item, quantity, unit_price_minor: Some(0), ..OrderLine::default() };
    Ok(record(&api, &call, &key, asked(1, vec![line], 0)).await)
}

/// List the ids of orders (load test of the first reference system)
#[utoipa::path(
    get, path = "/orders/ids/", tag = "as in the reference systems", operation_id = "loadTestIds",
    params(PageParameters),
    responses((status = 200, description = "A page of ids", body = Vec<ReferenceId>,
        headers(("Link" = Option<String>, description = "The next page, with rel=next"))))
)]
async fn ids_of_load_test(
    State(api): State<Arc<Api>>,
    _: StaffCall,
    query: Query,
) -> Result<Response, Problem> {
    page_of_ids(&api, query, "/orders/ids/").await
}

async fn page_of_ids(api: &Api, query: Query, path: &str) -> Result<Response, Problem> {
    const LIST: &str = "ids";
    let page: PageRequest<i64> = PageRequest::read(query, LIST)?;
    let found = api.backends.orders.orders_after(page.from, page.size).await?;
    let ids: Vec<ReferenceId> =
        found.records.into_iter().map(|order| ReferenceId { order_id: order.request.key }).collect();
    let mut headers = HeaderMap::new();
    if let Some(next) = found.next {
        let link =
            format!("<{path}?page_size={}&page_token={}>; rel=\"next\"", page.size, token(&next, LIST));
        headers.extend(HeaderValue::from_str(&link).ok().map(|link| (header::LINK, link)));
    }
    Ok((headers, Json(ids)).into_response())
}
