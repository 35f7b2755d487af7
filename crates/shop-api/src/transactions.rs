//! Transactions: payments of orders, and payments that pay no order.

use std::sync::Arc;

use axum::extract::{Path, Query as RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::api::{Api, CallContext};
use super::auth::{Caller, CallerRole};
use super::body::{Faults, Fields};
use super::extract::{IdempotencyKey, JsonBody};
use super::order_view::amount;
use super::orders::created;
use super::pages::{PageRequest, token};
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::query::Query;
use ecom_shop_domain::money::Currency;
use ecom_shop_domain::payment::{PaymentRecord, PaymentState};
use ecom_shop_domain::time::rfc3339;
use ecom_shop_store::{Cursor, ReadGuarantee};

/// The most transactions that `skip` passes over.
const MAX_SKIP: i64 = 10_000;
/// The transactions read at once to pass over some of them.
const SKIP_PAGE: usize = 1_000;

/// The routes of transactions.
pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(read))
}

/// A transaction to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "it documents the body, which is read field by field to name every fault at once"
)]
pub(crate) struct CreateTransaction {
    /// Who pays.
    #[schema(min_length = 1, max_length = 255, example = "user123")]
    sender: String,
    /// Who is paid.
    #[schema(min_length = 1, max_length = 255, example = "user456")]
    receiver: String,
    /// The amount, above 0.
    #[schema(exclusive_minimum = 0, maximum = 100_000_000, example = 100.00)]
    amount: f64,
    /// Currency code of ISO 4217.
    #[schema(pattern = "^[A-Z]{3}$", example = "USD")]
    currency: String,
}

/// A transaction that was asked for.
#[derive(Serialize)]
pub(crate) struct TransactionRequest {
    pub(crate) sender: String,
    pub(crate) receiver: String,
    pub(crate) amount_minor: i64,
    #[serde(serialize_with = "code")]
    pub(crate) currency: Currency,
}

fn code<S: serde::Serializer>(currency: &Currency, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(currency.code())
}

impl TransactionRequest {
    fn read(body: &[u8]) -> Result<Self, Problem> {
        let mut faults = Faults::default();
        let mut fields = Fields::of_body(body)?;
        let currency = fields.required_currency(&mut faults, "currency")?;
        let sender = fields.text(&mut faults, "sender", 255);
        let receiver = fields.text(&mut faults, "receiver", 255);
        let amount = fields.amount(&mut faults, "amount", currency, 1);
        for (name, is_missing) in
            [("sender", sender.is_none()), ("receiver", receiver.is_none()), ("amount", amount.is_none())]
        {
            if is_missing {
                fields.missing(&mut faults, name);
            }
        }
        fields.finish(&mut faults);
        faults.check()?;
        Ok(Self {
            sender: sender.unwrap_or_default(),
            receiver: receiver.unwrap_or_default(),
            amount_minor: amount.unwrap_or_default(),
            currency,
        })
    }
}

/// A transaction.
#[derive(Serialize, ToSchema)]
#[schema(as = Transaction)]
pub(crate) struct TransactionView {
    /// The id.
    #[schema(example = "7840217733091245")]
    transaction_id: String,
    /// Who pays.
    sender: String,
    /// Who is paid.
    receiver: String,
    /// The amount.
    #[schema(value_type = f64, example = 100.00)]
    amount: Box<RawValue>,
    /// Currency code of ISO 4217.
    currency: &'static str,
    /// pending, processing, completed or failed.
    status: String,
    /// When it was created.
    #[schema(format = "date-time")]
    created_at: String,
    /// When its status began.
    #[schema(format = "date-time")]
    updated_at: String,
    /// Why it failed.
    error_message: Option<String>,
}

impl TransactionView {
    pub(crate) fn of(payment: &PaymentRecord) -> Self {
        Self {
            transaction_id: payment.payment_id.to_string(),
            sender: payment.sender.clone(),
            receiver: payment.receiver.clone(),
            amount: amount(payment.currency, payment.amount_minor),
            currency: payment.currency.code(),
            status: payment.state.as_str().to_lowercase(),
            created_at: rfc3339(payment.created_at),
            updated_at: rfc3339(payment.state_at),
            error_message: payment.error_message.clone(),
        }
    }
}

/// A page of transactions.
#[derive(Serialize, ToSchema)]
pub(crate) struct TransactionList {
    /// The transactions.
    transactions: Vec<TransactionView>,
    /// The token of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// Create a transaction
///
/// Records a payment that pays no order, and asks the payment processor to process it. The same request with the same
/// Idempotency-Key is the same transaction, for ever.
#[utoipa::path(
    post, path = "/transactions", tag = "transactions", operation_id = "createTransaction",
    request_body = CreateTransaction,
    params(("Idempotency-Key" = Option<String>, Header, description = "A key of your own, 1 to 255 visible ASCII characters", min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses(
        (status = 201, description = "The transaction, as it is now", body = TransactionView),
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
    let accepted = api.accept_transaction(&call, key, TransactionRequest::read(&body)?).await?;
    let location = format!("/api/v1/transactions/{}", accepted.record.payment_id);
    let headers = created(&location, &accepted.record.request.key, accepted.is_replayed);
    Ok((StatusCode::CREATED, headers, Json(TransactionView::of(&accepted.record))).into_response())
}

/// Read a transaction
#[utoipa::path(
    get, path = "/transactions/{transaction_id}", tag = "transactions", operation_id = "readTransaction",
    params(("transaction_id" = String, Path, description = "The id", min_length = 1)),
    responses(
        (status = 200, description = "The transaction", body = TransactionView),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn read(
    State(api): State<Arc<Api>>,
    Extension(call): Extension<CallContext>,
    Path(transaction_id): Path<String>,
    RawQuery(query): RawQuery<Vec<(String, String)>>,
) -> Result<Json<TransactionView>, Problem> {
    Query::new(query).finish()?;
    let not_found = || Problem::new(ProblemCode::NotFound);
    let id = transaction_id.parse().map_err(|_| not_found())?;
    let payment = api.backends.payments.payment(id, ReadGuarantee::Committed).await?.ok_or_else(not_found)?;
    if !may_see(&api, &call.caller, &payment).await? {
        return Err(not_found());
    }
    Ok(Json(TransactionView::of(&payment)))
}

/// A customer sees the payments of their own orders.
async fn may_see(api: &Api, caller: &Caller, payment: &PaymentRecord) -> Result<bool, Problem> {
    match (caller.role, payment.of_order) {
        (CallerRole::Shop | CallerRole::Reader, _) => Ok(true),
        (CallerRole::Customer(_), None) => Ok(false),
        (CallerRole::Customer(own), Some((order_id, _))) => {
            let order = api.backends.orders.order(order_id, ReadGuarantee::Committed).await?;
            Ok(order.is_some_and(|order| order.customer_id == own))
        }
    }
}

/// List transactions
///
/// Newest first. Either page by page with page_size and page_token, which shows each transaction that existed at the
/// start exactly once, or with skip (at most 10000) and limit.
#[utoipa::path(
    get, path = "/transactions", tag = "transactions", operation_id = "listTransactions",
    params(
        ("status" = Option<String>, Query, description = "pending, processing, completed or failed", pattern = "^(pending|processing|completed|failed)$"),
        ("page_size" = Option<i64>, Query, description = "Entries a page, at most 1000; 50 by default", minimum = 0),
        ("page_token" = Option<String>, Query, description = "The next_page_token of the page before"),
        ("skip" = Option<i64>, Query, description = "Transactions to pass over, at most 10000", minimum = 0, maximum = 10_000),
        ("limit" = Option<i64>, Query, description = "As page_size", minimum = 0),
    ),
    responses(
        (status = 200, description = "A page of transactions", body = TransactionList),
        (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(api): State<Arc<Api>>,
    Extension(call): Extension<CallContext>,
    RawQuery(query): RawQuery<Vec<(String, String)>>,
) -> Result<Json<TransactionList>, Problem> {
    call.caller.is_not_a_customer()?;
    let mut query = Query::new(query);
    let state = query.take("status").and_then(|status| {
        let state = PaymentState::parse(&status);
        if state.is_none() {
            query.fault("status", "must be pending, processing, completed or failed");
        }
        state
    });
    let list = format!("transactions?status={}", state.map_or("", PaymentState::as_str));
    let skip = query.integer("skip", 0..=MAX_SKIP);
    let limit = query.integer("limit", 0..=i64::MAX);
    let mut page: PageRequest<Cursor> = PageRequest::read(&mut query, &list)?;
    if let Some(limit) = limit {
        page.size = usize::try_from(limit.clamp(0, 1_000)).unwrap_or(1);
    }
    if skip.is_some() && page.from.is_some() {
        query.fault("skip", "does not go with page_token");
    }
    query.finish()?;
    if page.size == 0 {
        return Ok(Json(TransactionList { transactions: Vec::new(), next_page_token: None }));
    }
    let payments = &api.backends.payments;
    let mut left = usize::try_from(skip.unwrap_or(0)).unwrap_or(0);
    while left > 0 {
        let passed = payments.payments_before(state, page.from, left.min(SKIP_PAGE)).await?;
        left -= passed.records.len();
        let Some(next) = passed.next else {
            return Ok(Json(TransactionList { transactions: Vec::new(), next_page_token: None }));
        };
        page.from = Some(next);
    }
    let found = payments.payments_before(state, page.from, page.size).await?;
    Ok(Json(TransactionList {
        transactions: found.records.iter().map(TransactionView::of).collect(),
        next_page_token: found.next.map(|place| token(&place, &list)),
    }))
}
