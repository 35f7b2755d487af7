//! Orders: create, read, list, pay, cancel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{KeyHeader, keyed};
use super::api::{Api, CallContext};
use super::extract::{IdempotencyKey, JsonBody, NoQuery, StaffCall};
use super::order_request::{CreateOrder, OrderRequest};
use super::order_view::{OrderList, OrderView};
use super::pages::{PageParameters, PageRequest, token};
use super::payment_request::{CreatePayment, PaymentRequest};
use super::prefer::{Prefer, PreferHeader};
use super::problem::{Problem, ProblemCode};
use super::query::Query;
use super::transactions::TransactionView;
use ecom_shop_domain::order::OrderState;
use ecom_shop_domain::request::ProcessingRequest;
use ecom_shop_domain::time::rfc3339;
use ecom_shop_store::{Cursor, ReadGuarantee};

/// The longest wait of a cancellation for the payment processor.
const CANCEL_WAIT: Duration = Duration::from_secs(5);
/// The states from which an order can be cancelled.
const CANCELLABLE: [OrderState; 2] = [OrderState::Accepted, OrderState::Placed];

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
/// the same order, for ever: repeat it until it is answered. Without a key the server makes one and returns it. A line is
/// of a product, at its price of now, or of any other item, at the price that it names. With `Prefer: wait=SECONDS` the
/// answer waits for the payment processor, and says so if there are too few units.
#[utoipa::path(
    post, path = "/orders", tag = "orders", operation_id = "createOrder",
    request_body = CreateOrder,
    params(KeyHeader, PreferHeader),
    responses(
        (status = 201, description = "The order, as it is now", body = OrderView, links(
            ("read" = (operation_id = "readOrder", parameters(("order" = "$response.body#/order_id")))),
            ("readByNumber" = (operation_id = "readOrder", parameters(("order" = "$response.body#/number")))),
            ("readByKey" = (operation_id = "readOrder", parameters(("order" = "$response.body#/idempotency_key")))),
            ("pay" = (operation_id = "payOrder", parameters(("order" = "$response.body#/order_id")))),
            ("cancel" = (operation_id = "cancelOrder", parameters(("order" = "$response.body#/order_id")))),
            ("confirm" = (operation_id = "sendConfirmation", parameters(("order" = "$response.body#/order_id")))),
        )),
    )
)]
async fn create(
    State(api): State<Arc<Api>>,
    StaffCall(call): StaffCall,
    IdempotencyKey(key): IdempotencyKey,
    prefer: Prefer,
    _: NoQuery,
    JsonBody(body): JsonBody,
) -> Response {
    let answer = async {
        let accepted = api.accept_order(&call, &key, OrderRequest::read(&body)?).await?;
        api.answer_order(accepted, prefer.deadline(Duration::ZERO), StatusCode::CREATED).await
    };
    prefer.applied(keyed(&key, answer.await))
}

/// Returns where to read an order.
pub(crate) fn location(order_id: i64) -> String {
    format!("/api/v1/orders/{order_id}")
}

/// Read an order
///
/// By its id, its number (ORD-…), or the idempotency key it was created with.
#[utoipa::path(
    get, path = "/orders/{order}", tag = "orders", operation_id = "readOrder",
    params(("order" = String, Path, description = "Id, number or idempotency key",
        max_length = 255, pattern = "^[!-~]+$")),
    responses((status = 200, description = "The order", body = OrderView))
)]
async fn read(
    State(api): State<Arc<Api>>,
    call: CallContext,
    Path(order): Path<String>,
    _: NoQuery,
) -> Result<Json<OrderView>, Problem> {
    let order = api.find_order(&call.caller, &order, ReadGuarantee::Committed).await?;
    OrderView::read(&api, &order).await.map(Json)
}

/// List orders
///
/// All orders in no order, each exactly once, or those of one customer, newest first.
#[utoipa::path(
    get, path = "/orders", tag = "orders", operation_id = "listOrders",
    params(
        PageParameters,
        ("customer_id" = Option<i64>, Query, description = "Only orders of this customer", minimum = 1),
    ),
    responses(
        (status = 200, description = "A page of orders", body = OrderList),
    )
)]
async fn list(
    State(api): State<Arc<Api>>,
    call: CallContext,
    mut query: Query,
) -> Result<Json<OrderList>, Problem> {
    let customer_id = call.caller.customer(query.integer("customer_id", 1..=i64::MAX))?;
    let Some(customer_id) = customer_id else {
        const LIST: &str = "orders";
        let page: PageRequest<i64> = PageRequest::read(query, LIST)?;
        let found = api.backends.orders.orders_after(page.from, page.size).await?;
        return Ok(Json(OrderList::of(&found.records, found.next.map(|place| token(&place, LIST)))));
    };
    let list = format!("orders?customer_id={customer_id}");
    let page: PageRequest<Cursor> = PageRequest::read(query, &list)?;
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
    status_counts: BTreeMap<&'static str, u64>,
    /// When the orders were counted.
    #[schema(format = "date-time")]
    as_of: String,
}

impl OrderMetrics {
    pub(crate) async fn read(api: &Api) -> Result<Self, Problem> {
        let counts = api.census.get(api.backends.orders.as_ref(), api.clock).await?;
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
    responses((status = 200, description = "The counts", body = OrderMetrics))
)]
async fn metrics(
    State(api): State<Arc<Api>>,
    _: StaffCall,
    _: NoQuery,
) -> Result<Json<OrderMetrics>, Problem> {
    OrderMetrics::read(&api).await.map(Json)
}

/// Pay an order
///
/// An order that was created without a payment method waits for this. It has at most one payment in progress.
#[utoipa::path(
    post, path = "/orders/{order}/payments", tag = "orders", operation_id = "payOrder",
    request_body = CreatePayment,
    params(
        ("order" = String, Path, description = "Id, number or idempotency key",
            max_length = 255, pattern = "^[!-~]+$"),
        KeyHeader,
    ),
    responses(
        (status = 201, description = "The payment, as it is now", body = TransactionView, links(
            ("read" = (operation_id = "readTransaction",
                parameters(("transaction_id" = "$response.body#/transaction_id")))),
        )),
    )
)]
async fn pay(
    State(api): State<Arc<Api>>,
    call: CallContext,
    Path(order): Path<String>,
    IdempotencyKey(key): IdempotencyKey,
    _: NoQuery,
    JsonBody(body): JsonBody,
) -> Response {
    let answer = async {
        let order = api.find_order(&call.caller, &order, ReadGuarantee::Linearizable).await?;
        let request = PaymentRequest::read(&body, &order)?;
        let accepted = api.accept_payment(&call, &key, &order, request).await?;
        Ok(TransactionView::created(&accepted))
    };
    keyed(&key, answer.await)
}

/// Cancel an order
///
/// Only an order that is neither paid nor being paid can be cancelled. Repeating it changes nothing.
#[utoipa::path(
    post, path = "/orders/{order}/cancel", tag = "orders", operation_id = "cancelOrder",
    params(("order" = String, Path, description = "Id, number or idempotency key",
        max_length = 255, pattern = "^[!-~]+$")),
    responses(
        (status = 200, description = "The cancelled order", body = OrderView),
        (status = 202, description = "The payment processor has not answered within 5 s; read the order",
            body = OrderView),
    )
)]
async fn cancel(
    State(api): State<Arc<Api>>,
    call: CallContext,
    Path(order): Path<String>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let mut order = api.find_order(&call.caller, &order, ReadGuarantee::Linearizable).await?;
    if CANCELLABLE.contains(&order.state) {
        api.ask(ProcessingRequest::CancelOrderId(order.order_id.0), &call).await?;
        order = api.await_decision(order, &CANCELLABLE, Instant::now() + CANCEL_WAIT).await?;
    }
    let status = match order.state {
        OrderState::Cancelled => StatusCode::OK,
        OrderState::Accepted | OrderState::Placed => StatusCode::ACCEPTED,
        OrderState::Paying => {
            let detail = "a payment of the order is processing";
            return Err(Problem::detailed(ProblemCode::NotCancellable, detail));
        }
        OrderState::Paid | OrderState::Completed | OrderState::Refused => {
            let detail = format!("the order is {}", order.state.status());
            return Err(Problem::detailed(ProblemCode::NotCancellable, detail));
        }
    };
    Ok((status, Json(OrderView::read(&api, &order).await?)).into_response())
}
