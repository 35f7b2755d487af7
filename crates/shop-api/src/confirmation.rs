//! Confirmations of orders: what became of them, and sending them again.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::api::{Api, CallContext};
use super::extract::NoQuery;
use super::order_view::OrderView;
use super::problem::{Problem, ProblemCode};
use ecom_shop_domain::notice::{Notice, NoticeOutcome, NoticeRequest};
use ecom_shop_domain::time::rfc3339;
use ecom_shop_store::ReadGuarantee;

/// The routes of confirmations.
pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(send))
}

/// The confirmation of an order.
#[derive(Serialize, ToSchema)]
#[schema(as = Confirmation)]
pub(crate) struct ConfirmationView {
    /// sent, undeliverable or not_needed.
    #[schema(example = "sent")]
    status: &'static str,
    /// The reason that it is undeliverable, or not needed.
    detail: Option<String>,
    /// The time at which its status began.
    #[schema(format = "date-time")]
    updated_at: String,
}

impl ConfirmationView {
    pub(crate) fn of(notice: &Notice) -> Self {
        let detail = match &notice.outcome {
            NoticeOutcome::Sent => None,
            NoticeOutcome::Undeliverable(cause) | NoticeOutcome::NotNeeded(cause) => Some(cause.clone()),
        };
        Self { status: notice.outcome.as_str(), detail, updated_at: rfc3339(notice.at) }
    }
}

/// Send a confirmation again
///
/// Asks for the confirmation of a paid order to be sent once more, whatever has become of the one before: see confirmation
/// of the order. Repeating the request before it is sent changes nothing.
#[utoipa::path(
    post, path = "/orders/{order}/confirmation", tag = "orders", operation_id = "sendConfirmation",
    params(("order" = String, Path, description = "Id, number or idempotency key",
        max_length = 255, pattern = "^[!-~]+$")),
    responses((status = 202, description = "The order, whose confirmation is going to be sent", body = OrderView))
)]
async fn send(
    State(api): State<Arc<Api>>,
    call: CallContext,
    Path(order): Path<String>,
    _: NoQuery,
) -> Result<(StatusCode, Json<OrderView>), Problem> {
    let order = api.find_order(&call.caller, &order, ReadGuarantee::Linearizable).await?;
    if !order.state.is_paid() {
        let detail = format!("the order is {}", order.state.status());
        return Err(Problem::detailed(ProblemCode::NotPaid, detail));
    }
    let request = NoticeRequest::confirmed_again(order.order_id, order.notice.as_ref());
    api.ask_to_confirm(request, &call).await?;
    Ok((StatusCode::ACCEPTED, Json(OrderView::read(&api, &order).await?)))
}
