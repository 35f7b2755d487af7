//! Orders: create, read, list, pay, cancel.

use axum::extract::{Path, Query as RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::api::{Api, CallContext};
use super::extract::{IdempotencyKey, JsonBody};
use super::order_request::{CreateOrder, OrderRequest};
use super::order_view::{OrderList, OrderView};
use super::pages::{PageRequest, token};
use super::payment_request::{CreatePayment, PaymentRequest};
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::query::Query;
use super::transactions::TransactionView;
use ecom_shop_domain::order::OrderState;
use ecom_shop_domain::request::ProcessingRequest;
use ecom_shop_domain::time::rfc3339;
use ecom_shop_store::{Cursor, ReadGuarantee};

/// The header of a response that answers a request which was recorded before.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The longest wait of a cancellation for the payment processor.
const CANCEL_WAIT: Duration = Duration::from_secs(5);
/// The time between two looks at an order that is being cancelled.
const LOOK: Duration = Duration::from_millis(50);

/// The routes of orders.
pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(metrics))
        .routes(routes!(read))
        .routes(routes!(pay))
        .routes(routes!(cancel))
}

/// Create an order
///
/// Records the order and asks the payment processor to process it. The same request with the same Idempotency-Key is
/// the same order, for ever: repeat it until it is answered. Without a key the server makes one and returns it.
#[utoipa::path(
    post, path = "/orders", tag = "orders", operation_id = "createOrder",
    request_body = CreateOrder,
    params(("Idempotency-Key" = Option<String>, Header, description = "A key of your own, 1 to 255 visible ASCII characters", min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses(
        (status = 201, description = "The order, as it is now", body = OrderView, headers(
            ("Location" = String, description = "The order"),
            ("Idempotency-Key" = String, description = "The key that the order was recorded under"),
            ("Idempotent-Replayed" = Option<String>, description = "true, if it was recorded before"))),
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
    let request = OrderRequest::read(&body, &call.caller)?;
    let accepted = api.accept_order(&call, key, request).await?;
    let view = OrderView::read(&api, &accepted.record).await?;
    let location = format!("/api/v1/orders/{}", accepted.record.order_id);
    let headers = created(&location, &accepted.record.request.key, accepted.is_replayed);
    Ok((StatusCode::CREATED, headers, Json(view)).into_response())
}

/// Returns the headers of a response to a request that was recorded.
pub(crate) fn created(location: &str, key: &str, is_replayed: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let key = ("idempotency-key", key);
    for (name, value) in [(header::LOCATION.as_str(), location), key] {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    if is_replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    headers
}

/// Read an order
///
/// By its id, its number (ORD-…), or the idempotency key it was created with.
#[utoipa::path(
    get, path = "/orders/{order}", tag = "orders", operation_id = "readOrder",
    params(("order" = String, Path, description = "Id, number or idempotency key", min_length = 1)),
    responses(
        (status = 200, description = "The order", body = OrderView),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn read(
    State(api): State<Arc<Api>>,
    Extension(call): Extension<CallContext>,
    Path(order): Path<String>,
    RawQuery(query): RawQuery<Vec<(String, String)>>,
) -> Result<Json<OrderView>, Problem> {
    Query::new(query).finish()?;
    let order = api.find_order(&call.caller, &order, ReadGuarantee::Committed).await?;
    OrderView::read(&api, &order).await.map(Json)
}

/// List orders
///
/// All orders in no order, each exactly once, or those of one customer, newest first.
#[utoipa::path(
    get, path = "/orders", tag = "orders", operation_id = "listOrders",
    params(
        ("page_size" = Option<i64>, Query, description = "Entries a page, at most 1000; 50 by default", minimum = 0),
        ("page_token" = Option<String>, Query, description = "The next_page_token of the page before"),
        ("customer_id" = Option<i64>, Query, description = "Only orders of this customer", minimum = 1),
    ),
    responses(
        (status = 200, description = "A page of orders", body = OrderList),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(api): State<Arc<Api>>,
    Extension(call): Extension<CallContext>,
    RawQuery(query): RawQuery<Vec<(String, String)>>,
) -> Result<Json<OrderList>, Problem> {
    let mut query = Query::new(query);
    let asked = query.integer("customer_id", 1..=i64::MAX);
    let customer_id = api.customer_of_list(&call.caller, asked)?;
    let Some(customer_id) = customer_id else {
        const LIST: &str = "orders";
        let page: PageRequest<i64> = PageRequest::read(&mut query, LIST)?;
        query.finish()?;
        let found = api.backends.orders.orders_after(page.from, page.size).await?;
        return Ok(Json(OrderList::of(&found.records, found.next.map(|place| token(&place, LIST)))));
    };
    let list = format!("orders?customer_id={customer_id}");
    let page: PageRequest<Cursor> = PageRequest::read(&mut query, &list)?;
    query.finish()?;
    let found = api.backends.orders.orders_of_customer(customer_id, page.from, page.size).await?;
    Ok(Json(OrderList::of(&found.records, found.next.map(|place| token(&place, &list)))))
}

/// Counts over all orders.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrderMetrics {
    /// The number of orders.
    total_orders: u64,
    /// The mean time from created to completed, in seconds; 0 before the first.
    avg_process_time: f64,
    /// A time that half of the completed orders did not exceed, in seconds.
    p50_process_time: Option<f64>,
    /// A time that 99 % of the completed orders did not exceed, in seconds.
    p99_process_time: Option<f64>,
    /// Orders by status.
    status_counts: std::collections::BTreeMap<&'static str, u64>,
    /// When the orders were counted.
    as_of: String,
}

impl OrderMetrics {
    pub(crate) async fn read(api: &Api) -> Result<Self, Problem> {
        let counts = api.census.get(api.backends.orders.as_ref(), api.clock.now_us()).await?;
        Ok(Self {
            total_orders: counts.total(),
            avg_process_time: counts.average_seconds().unwrap_or_default(),
            p50_process_time: counts.quantile_seconds(0.5),
            p99_process_time: counts.quantile_seconds(0.99),
            status_counts: counts.by_status.clone(),
            as_of: rfc3339(counts.as_of),
        })
    }
}

/// Count orders
///
/// Orders by status, and the time from created to completed. The counts are a few seconds old: see as_of.
#[utoipa::path(
    get, path = "/orders/metrics", tag = "orders", operation_id = "orderMetrics",
    responses(
        (status = 200, description = "The counts", body = OrderMetrics),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn metrics(
    State(api): State<Arc<Api>>,
    Extension(call): Extension<CallContext>,
    RawQuery(query): RawQuery<Vec<(String, String)>>,
) -> Result<Json<OrderMetrics>, Problem> {
    call.caller.is_not_a_customer()?;
    Query::new(query).finish()?;
    OrderMetrics::read(&api).await.map(Json)
}

/// Pay an order
///
/// An order that was created without a payment method waits for this. It has at most one payment in progress.
#[utoipa::path(
    post, path = "/orders/{order}/payments", tag = "orders", operation_id = "payOrder",
    request_body = CreatePayment,
    params(
        ("order" = String, Path, description = "Id, number or idempotency key", min_length = 1),
        ("Idempotency-Key" = Option<String>, Header, description = "A key of your own, 1 to 255 visible ASCII characters", min_length = 1, max_length = 255, pattern = "^[!-~]+$"),
    ),
    responses(
        (status = 201, description = "The payment, as it is now", body = TransactionView),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn pay(
    State(api): State<Arc<Api>>,
    Extension(call): Extension<CallContext>,
    Path(order): Path<String>,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    call.caller.may_write()?;
    let order = api.find_order(&call.caller, &order, ReadGuarantee::Linearizable).await?;
    let request = PaymentRequest::read(&body, &order)?;
    let accepted = api.accept_payment(&call, key, &order, request).await?;
    let location = format!("/api/v1/transactions/{}", accepted.record.payment_id);
    let headers = created(&location, &accepted.record.request.key, accepted.is_replayed);
    Ok((StatusCode::CREATED, headers, Json(TransactionView::of(&accepted.record))).into_response())
}

/// Cancel an order
///
/// Only an order that is neither paid nor being paid can be cancelled. Repeating it changes nothing.
#[utoipa::path(
    post, path = "/orders/{order}/cancel", tag = "orders", operation_id = "cancelOrder",
    params(("order" = String, Path, description = "Id, number or idempotency key", min_length = 1)),
    responses(
        (status = 200, description = "The cancelled order", body = OrderView),
        (status = 202, description = "The payment processor has not answered within 5 s; read the order", body = OrderView),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn cancel(
    State(api): State<Arc<Api>>,
    Extension(call): Extension<CallContext>,
    Path(order): Path<String>,
) -> Result<Response, Problem> {
    call.caller.may_write()?;
    let mut order = api.find_order(&call.caller, &order, ReadGuarantee::Linearizable).await?;
    let deadline = Instant::now() + CANCEL_WAIT;
    let mut is_asked = false;
    loop {
        match order.state {
            OrderState::Cancelled => {
                return Ok(Json(OrderView::read(&api, &order).await?).into_response());
            }
            OrderState::Paying | OrderState::Paid | OrderState::Completed | OrderState::Refused => {
                let detail = format!("the order is {}", order.state.as_str());
                return Err(Problem::detailed(ProblemCode::NotCancellable, detail));
            }
            OrderState::Accepted | OrderState::Placed => {}
        }
        if !is_asked {
            api.ask(ProcessingRequest::CancelOrderId(order.order_id.0), &call.request_id.0).await?;
            is_asked = true;
        }
        if Instant::now() >= deadline {
            let view = OrderView::read(&api, &order).await?;
            return Ok((StatusCode::ACCEPTED, Json(view)).into_response());
        }
        tokio::time::sleep(LOOK).await;
        let found = api.backends.orders.order(order.order_id, ReadGuarantee::Linearizable).await?;
        order = found.ok_or_else(|| Problem::new(ProblemCode::NotFound))?;
    }
}
