//! Transactions: payments of orders, and payments that pay no order.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::accept::Accepted;
use super::answer::{KeyHeader, created, keyed};
use super::api::{Api, CallContext};
use super::auth::{Caller, CallerRole};
use super::body::{Faults, Fields};
use super::extract::{IdempotencyKey, JsonBody, NoQuery, StaffCall};
use super::order_request::code;
use super::pages::{MAX_SIZE, PageParameters, PageRequest, token};
use super::problem::{Problem, ProblemCode};
use super::query::Query;
use super::schemas;
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
    /// The amount, above 0, with at most the decimals of the currency.
    #[schema(exclusive_minimum = 0, maximum = 1_000_000_000_000_i64, example = 100.00)]
    amount: f64,
    /// Currency code of ISO 4217.
    #[schema(schema_with = schemas::currency)]
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

impl TransactionRequest {
    fn read(body: &[u8]) -> Result<Self, Problem> {
        let mut faults = Faults::default();
        let mut fields = Fields::of_body(body)?;
        fields.require(&mut faults, &["sender", "receiver", "amount", "currency"]);
        let currency = fields.currency(&mut faults, "currency");
        let sender = fields.text(&mut faults, "sender", 255);
        let receiver = fields.text(&mut faults, "receiver", 255);
        let amount = fields.amount(&mut faults, "amount", currency, 1);
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
    /// The time at which its status began.
    #[schema(format = "date-time")]
    updated_at: String,
    /// Why it failed.
    error_message: Option<String>,
}

impl TransactionView {
    /// Returns the answer to a request that recorded a payment.
    pub(crate) fn created(accepted: &Accepted<PaymentRecord>) -> Response {
        let location = format!("/api/v1/transactions/{}", accepted.record.payment_id);
        created(&location, accepted.is_replayed, Self::of(&accepted.record))
    }

    fn of(payment: &PaymentRecord) -> Self {
        Self {
            transaction_id: payment.payment_id.to_string(),
            sender: payment.sender.clone(),
            receiver: payment.receiver.clone(),
            amount: payment.currency.to_json(payment.amount_minor),
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
    params(KeyHeader),
    responses(
        (status = 201, description = "The transaction, as it is now", body = TransactionView, links(
            ("read" = (operation_id = "readTransaction",
                parameters(("transaction_id" = "$response.body#/transaction_id")))),
        )),
    )
)]
async fn create(
    State(api): State<Arc<Api>>,
    StaffCall(call): StaffCall,
    IdempotencyKey(key): IdempotencyKey,
    _: NoQuery,
    JsonBody(body): JsonBody,
) -> Response {
    let answer = async {
        let accepted = api.accept_transaction(&call, &key, TransactionRequest::read(&body)?).await?;
        Ok(TransactionView::created(&accepted))
    };
    keyed(&key, answer.await)
}

/// Read a transaction
#[utoipa::path(
    get, path = "/transactions/{transaction_id}", tag = "transactions", operation_id = "readTransaction",
    params(("transaction_id" = String, Path, description = "The id", pattern = "^[0-9]{1,19}$")),
    responses((status = 200, description = "The transaction", body = TransactionView))
)]
async fn read(
    State(api): State<Arc<Api>>,
    call: CallContext,
    Path(transaction_id): Path<String>,
    _: NoQuery,
) -> Result<Json<TransactionView>, Problem> {
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
/// Newest first. Page by page with page_size and page_token, each transaction that existed at the start is shown exactly
/// once. With skip and limit, those that are created in between shift the others.
#[utoipa::path(
    get, path = "/transactions", tag = "transactions", operation_id = "listTransactions",
    params(
        ("status" = Option<String>, Query, description = "Only transactions of this status",
            pattern = "^(pending|processing|completed|failed)$"),
        PageParameters,
        ("skip" = Option<i64>, Query, description = "Transactions to pass over, at most 10000; beyond, use page_token",
            minimum = 0, maximum = 10_000),
        ("limit" = Option<i64>, Query, description = "As page_size, and instead of it", minimum = 0),
    ),
    responses(
        (status = 200, description = "A page of transactions", body = TransactionList),
    )
)]
async fn list(
    State(api): State<Arc<Api>>,
    _: StaffCall,
    mut query: Query,
) -> Result<Json<TransactionList>, Problem> {
    let status = query.take("status");
    let state = status.as_ref().and_then(|status| {
        PaymentState::ALL.into_iter().find(|state| state.as_str().to_lowercase() == *status)
    });
    if status.is_some() && state.is_none() {
        query.fault("status", "must be pending, processing, completed or failed");
    }
    let list = format!("transactions?status={}", state.map_or("", PaymentState::as_str));
    let skip = query.integer("skip", 0..=MAX_SKIP).unwrap_or(0);
    let limit = query.integer("limit", 0..=i64::MAX);
    let PageRequest { size, mut from } = PageRequest::<Cursor>::read(query, &list)?;
    let size = limit.map_or(size, |limit| usize::try_from(limit.min(MAX_SIZE)).unwrap_or(0));
    let payments = &api.backends.payments;
    let mut left = usize::try_from(skip).unwrap_or(0);
    let mut is_end = size == 0;
    while left > 0 && !is_end {
        let passed = payments.payments_before(state, from, left.min(SKIP_PAGE)).await?;
        left -= passed.records.len();
        is_end = passed.next.is_none();
        from = passed.next;
    }
    if is_end {
        return Ok(Json(TransactionList { transactions: Vec::new(), next_page_token: None }));
    }
    let found = payments.payments_before(state, from, size).await?;
    Ok(Json(TransactionList {
        transactions: found.records.iter().map(TransactionView::of).collect(),
        next_page_token: found.next.map(|place| token(&place, &list)),
    }))
}
