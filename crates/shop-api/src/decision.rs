//! Waiting for the payment processor to decide on an order, and the answer to a request that recorded one.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::accept::Accepted;
use super::answer::of_record;
use super::api::Api;
use super::order_view::OrderView;
use super::orders::location;
use super::problem::{Problem, ProblemCode};
use ecom_shop_domain::inventory::Shortage;
use ecom_shop_domain::order::{OrderRecord, OrderState};
use ecom_shop_store::ReadGuarantee;

/// The time before an order is read again for the first time, which doubles each time.
const FIRST_LOOK: Duration = Duration::from_millis(25);
/// The longest time between two reads of an order.
const LONGEST_LOOK: Duration = Duration::from_millis(200);

impl Api {
    /// Reads an order until it is in none of these states or the time is over, and returns it as it stands then.
    pub(crate) async fn await_decision(
        &self,
        mut order: OrderRecord,
        undecided: &[OrderState],
        deadline: Instant,
    ) -> Result<OrderRecord, Problem> {
        let mut pause = FIRST_LOOK;
        while undecided.contains(&order.state) && Instant::now() < deadline {
            tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
            pause = (pause * 2).min(LONGEST_LOOK);
            let found = self.backends.orders.order(order.order_id, ReadGuarantee::Committed).await?;
            order = found.ok_or_else(|| Problem::new(ProblemCode::NotFound))?;
        }
        Ok(order)
    }

    /// Answers a request that recorded an order, with what has become of the order until the deadline. One on which nobody
    /// has decided by then has the status `undecided`; one that was refused for a shortage is a problem.
    pub(crate) async fn answer_order(
        &self,
        accepted: Accepted<OrderRecord>,
        deadline: Instant,
        undecided: StatusCode,
    ) -> Result<Response, Problem> {
        let Accepted { record, is_replayed } = accepted;
        let order = self.await_decision(record, &[OrderState::Accepted], deadline).await?;
        let location = location(order.order_id.0);
        let is_short =
            |detail: &&str| order.state == OrderState::Refused && Shortage::parse(detail).is_some();
        if let Some(detail) = order.detail.as_deref().filter(is_short) {
            let problem = Problem::detailed(ProblemCode::InsufficientStock, detail);
            return Ok(of_record(problem, &location, is_replayed));
        }
        let status = if order.state == OrderState::Accepted { undecided } else { StatusCode::CREATED };
        let view = match order.state {
            // A new order has no payment and no fact yet.
            OrderState::Accepted if !is_replayed => OrderView::of(&order, None, false),
            _ => OrderView::read(self, &order).await?,
        };
        Ok(of_record((status, Json(view)).into_response(), &location, is_replayed))
    }
}
