//! The URLs of the first reference system, so that its command lines and its load test run unmodified.
//!
//! They record orders as `/api/v1/orders` does. What their requests leave out is filled in: customer 1, price 0, no
//! address, payment on account. A status in the body is accepted and ignored.

use std::sync::Arc;

use axum::extract::{Path, Query as RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::api::{Api, CallContext};
use super::body::{Faults, Fields};
use super::extract::{IdempotencyKey, JsonBody};
use super::order_request::{DEFAULT_CURRENCY, OrderRequest};
use super::orders::{OrderMetrics, created};
use super::pages::{PageRequest, token};
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::query::Query;
use ecom_shop_domain::gateway::INVOICE;
use ecom_shop_domain::money::Currency;
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
    #[schema(min_items = 1, max_items = 100, example = json!([1, 2]))]
    item_ids: Vec<i64>,
    /// The price of all items together.
    #[schema(minimum = 0, example = 99.90)]
    total_amount: f64,
    /// Accepted and ignored.
    #[schema(max_length = 255, example = "Pending")]
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
    /// How many.
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
    fn of(order: &OrderRecord) -> Json<Self> {
        Json(Self { order_id: order.request.key.clone(), status: order.state.status() })
    }
}

fn asked(
    customer_id: i64,
    lines: Vec<OrderLine>,
    merchandise_minor: i64,
    currency: Currency,
) -> OrderRequest {
    let document = OrderDocument {
        lines,
        merchandise_minor,
        shipping_minor: 0,
        shipping_address: NO_ADDRESS.to_owned(),
        email: None,
        payment_method: Some(INVOICE.to_owned()),
        card_last_four: None,
    };
    OrderRequest { customer_id, currency, document }
}

fn usd() -> Result<Currency, Problem> {
    Currency::try_new(DEFAULT_CURRENCY).ok_or_else(|| Problem::new(ProblemCode::Internal))
}

async fn record(
    api: &Api,
    call: &CallContext,
    key: Option<String>,
    asked: OrderRequest,
) -> Result<Response, Problem> {
    let accepted = api.accept_order(call, key, asked).await?;
    let location = format!("/api/v1/orders/{}", accepted.record.order_id);
    let headers = created(&location, &accepted.record.request.key, accepted.is_replayed);
    Ok((StatusCode::CREATED, headers, OrderStatus::of(&accepted.record)).into_response())
}

/// Create an order (first reference system)
#[utoipa::path(
    post, path = "/api/orders/create/", tag = "as in the reference systems", operation_id = "referenceCreate",
    request_body = ReferenceOrder,
    responses(
        (status = 201, description = "Its id and status", body = OrderStatus),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn create(
    State(api): State<Arc<Api>>,
    Extension(call): Extension<CallContext>,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    call.caller.may_write()?;
    call.caller.is_not_a_customer()?;
    let (mut faults, mut fields, usd) = (Faults::default(), Fields::of_body(&body)?, usd()?);
    let customer = fields.integer(&mut faults, "user_id", 1..=i64::MAX);
    let own_id = fields.text(&mut faults, "order_id", 255);
    let items = fields.integers(&mut faults, "item_ids", 100);
    let total = fields.amount(&mut faults, "total_amount", usd, 0);
    fields.text(&mut faults, "status", 255);
    let missing = [
        ("user_id", customer.is_none()),
        ("order_id", own_id.is_none()),
        ("item_ids", items.is_none()),
        ("total_amount", total.is_none()),
    ];
    for (name, is_missing) in missing {
        if is_missing {
            fields.missing(&mut faults, name);
        }
    }
    if own_id.as_ref().is_some_and(|id| !id.bytes().all(|byte| byte.is_ascii_graphic())) {
        fields.fault(&mut faults, "order_id", "must be visible ASCII characters");
    }
    fields.finish(&mut faults);
    faults.check()?;
    let lines = items.unwrap_or_default().into_iter();
    let lines = lines.map(|id| OrderLine { item: format!("Item {id}"), quantity: 1, unit_price_minor: None });
    let asked = asked(customer.unwrap_or_default(), lines.collect(), total.unwrap_or_default(), usd);
    record(&api, &call, key.or(own_id), asked).await
}

/// Read the status of an order (first reference system)
#[utoipa::path(
    get, path = "/api/orders/{order_id}/status/", tag = "as in the reference systems", operation_id = "referenceStatus",
    params(("order_id" = String, Path, description = "The client's own id of the order, or ours", min_length = 1)),
    responses(
        (status = 200, description = "Its id and status", body = OrderStatus),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn status(
    State(api): State<Arc<Api>>,
    Extension(call): Extension<CallContext>,
    Path(order_id): Path<String>,
) -> Result<Json<OrderStatus>, Problem> {
    let by_key = api.order_of_key(&call.caller, &order_id, ReadGuarantee::Committed).await?;
    let order = match by_key.filter(|order| call.caller.may_see(order.customer_id)) {
        Some(order) => order,
        None => api.find_order(&call.caller, &order_id, ReadGuarantee::Committed).await?,
    };
    Ok(OrderStatus::of(&order))
}

/// List the ids of orders (first reference system)
///
/// A list without a wrapper; the Link header names the next page.
#[utoipa::path(
    get, path = "/api/orders/ids/", tag = "as in the reference systems", operation_id = "referenceIds",
    params(
        ("page_size" = Option<i64>, Query, description = "Entries a page, at most 1000; 50 by default", minimum = 0),
        ("page_token" = Option<String>, Query, description = "The token of the Link header of the page before"),
    ),
    responses(
        (status = 200, description = "A page of ids", body = Vec<ReferenceId>),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn ids(
    State(api): State<Arc<Api>>,
    Extension(call): Extension<CallContext>,
    RawQuery(query): RawQuery<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    page_of_ids(&api, &call, query, "/api/orders/ids/").await
}

/// Count orders (first reference system)
#[utoipa::path(
    get, path = "/api/metrics/", tag = "as in the reference systems", operation_id = "referenceMetrics",
    responses(
        (status = 200, description = "The counts", body = OrderMetrics),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn metrics(
    State(api): State<Arc<Api>>,
    Extension(call): Extension<CallContext>,
) -> Result<Json<OrderMetrics>, Problem> {
    call.caller.is_not_a_customer()?;
    OrderMetrics::read(&api).await.map(Json)
}

/// Create an order (load test of the first reference system)
#[utoipa::path(
    post, path = "/orders/", tag = "as in the reference systems", operation_id = "loadTestCreate",
    request_body = LoadTestOrder,
    responses(
        (status = 201, description = "Its id and status", body = OrderStatus),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn create_by_name(
    State(api): State<Arc<Api>>,
    Extension(call): Extension<CallContext>,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    call.caller.may_write()?;
    call.caller.is_not_a_customer()?;
    let (mut faults, mut fields) = (Faults::default(), Fields::of_body(&body)?);
    let item = fields.text(&mut faults, "product_name", 255);
    let quantity = fields.integer(&mut faults, "quantity", 1..=1_000_000);
    for (name, is_missing) in [("product_name", item.is_none()), ("quantity", quantity.is_none())] {
        if is_missing {
            fields.missing(&mut faults, name);
        }
    }
    fields.finish(&mut faults);
    faults.check()?;
    let line = OrderLine {
        item: item.unwrap_or_default(),
        quantity: quantity.unwrap_or_default(),
        unit_price_minor: Some(0),
    };
    record(&api, &call, key, asked(1, vec![line], 0, usd()?)).await
}

/// List the ids of orders (load test of the first reference system)
#[utoipa::path(
    get, path = "/orders/ids/", tag = "as in the reference systems", operation_id = "loadTestIds",
    params(
        ("page_size" = Option<i64>, Query, description = "Entries a page, at most 1000; 50 by default", minimum = 0),
        ("page_token" = Option<String>, Query, description = "The token of the Link header of the page before"),
    ),
    responses(
        (status = 200, description = "A page of ids", body = Vec<ReferenceId>),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn ids_of_load_test(
    State(api): State<Arc<Api>>,
    Extension(call): Extension<CallContext>,
    RawQuery(query): RawQuery<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    page_of_ids(&api, &call, query, "/orders/ids/").await
}

async fn page_of_ids(
    api: &Api,
    call: &CallContext,
    query: Vec<(String, String)>,
    path: &str,
) -> Result<Response, Problem> {
    const LIST: &str = "ids";
    call.caller.is_not_a_customer()?;
    let mut query = Query::new(query);
    let page: PageRequest<i64> = PageRequest::read(&mut query, LIST)?;
    query.finish()?;
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
