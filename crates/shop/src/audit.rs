//! The audit of the records: whether orders and payments add up, and which events they imply.

use std::collections::{BTreeMap, HashMap};

use futures_util::TryStreamExt;

use super::events::{order_message, payment_message};
use ecom_domain::event_time::EventTime;
use ecom_domain::order::OrderId;
use ecom_scenario::{EventContent, RecordedEvent};
use ecom_shop_domain::event;
use ecom_shop_domain::identity;
use ecom_shop_domain::money::Currency;
use ecom_shop_domain::order::{OrderRecord, OrderState};
use ecom_shop_domain::payment::{PROCESSOR, PaymentRecord, PaymentState};
use ecom_shop_store::{OrderStore, PaymentStore};
use ecom_store::StoreError;

/// The time after which a record that is due counts as left behind, in microseconds.
const OVERDUE: i64 = 60_000_000;
/// The ids that a request may have, of which all but the first are for collisions.
const CANDIDATES: usize = 16;
/// The most differences that are described.
const DESCRIBED: usize = 100;

/// What the records add up to.
#[derive(Default, Debug)]
pub struct ShopAudit {
    /// Orders by state.
    pub orders: BTreeMap<&'static str, u64>,
    /// Payments by state, transactions without an order included.
    pub payments: BTreeMap<&'static str, u64>,
    /// Of the payments, those without an order.
    pub transactions: u64,
    /// The number of differences.
    pub difference_count: u64,
    /// Descriptions of the first differences.
    pub differences: Vec<String>,
    /// The events that the records imply.
    pub events: Vec<RecordedEvent>,
    known: HashMap<OrderId, KnownOrder>,
}

/// What is known of an order, and of its payments so far.
#[derive(Debug)]
struct KnownOrder {
    state: OrderState,
    attempt: i64,
    total_minor: i64,
    currency: Currency,
    /// Payments found, but not one that the order does not count yet.
    found: i64,
    completed: i64,
}

/// Reads all records and adds them up. The processors must be idle; a record in the middle of a step that is not due
/// counts as correct.
///
/// # Errors
/// The error of the store, which makes the result unknown.
pub async fn audit(
    orders: &dyn OrderStore,
    payments: &dyn PaymentStore,
    now: i64,
) -> Result<ShopAudit, StoreError> {
    let mut audit = ShopAudit::default();
    let mut all = orders.orders();
    while let Some(order) = all.try_next().await? {
        audit.order(&order, now);
    }
    let mut all = payments.payments();
    while let Some(payment) = all.try_next().await? {
        audit.payment(&payment, now);
    }
    audit.finish();
    Ok(audit)
}

impl ShopAudit {
    fn order(&mut self, order: &OrderRecord, now: i64) {
        *self.orders.entry(order.state.as_str()).or_default() += 1;
        let OrderRecord { order_id, state, attempt, total_minor, currency, .. } = *order;
        let known = KnownOrder { state, attempt, total_minor, currency, found: 0, completed: 0 };
        self.known.insert(order_id, known);
        if !identity::order_ids(&order.request).take(CANDIDATES).any(|id| id == order_id) {
            self.differs(format!("order {order_id} has an id that its idempotency key does not give"));
        }
        if order.document.merchandise_minor + order.document.shipping_minor != total_minor {
            self.differs(format!("the lines of order {order_id} do not add up to its total"));
        }
        self.overdue(&format!("order {order_id}"), state.as_str(), order.due_at, now);
        let states: &[OrderState] = match state {
            OrderState::Accepted | OrderState::Refused => &[],
            OrderState::Placed | OrderState::Paying => &[],
            OrderState::Paid => &[OrderState::Placed],
            OrderState::Completed => &[OrderState::Placed, OrderState::Paid],
            OrderState::Cancelled => &[OrderState::Placed],
        };
        for (place, state) in (0..).zip(states) {
            self.events.extend(event_of(&OrderRecord { state: *state, ..order.clone() }, Err(place)));
        }
        self.events.extend(event_of(order, Ok(EventTime::stored(order.state_at))));
    }

    fn payment(&mut self, payment: &PaymentRecord, now: i64) {
        *self.payments.entry(payment.state.as_str()).or_default() += 1;
        let id = payment.payment_id;
        self.overdue(&format!("payment {id}"), payment.state.as_str(), payment.due_at, now);
        let Some((order_id, attempt)) = payment.of_order else {
            self.transactions += 1;
            return;
        };
        let began =
            (payment.request.account != PROCESSOR).then_some((PaymentState::Pending, payment.created_at));
        let processing = payment.processing_at.map(|at| (PaymentState::Processing, at));
        let last = payment.state.is_final().then_some((payment.state, payment.state_at));
        for (state, state_at) in began.into_iter().chain(processing).chain(last) {
            self.events.extend(event_of_payment(&PaymentRecord { state, state_at, ..payment.clone() }));
        }
        let Some(order) = self.known.get_mut(&order_id) else {
            return self.differs(format!("payment {id} pays order {order_id}, which does not exist"));
        };
        let fault = if attempt > order.attempt {
            // Asked for, and not begun: no money has moved.
            matches!(payment.state, PaymentState::Processing | PaymentState::Completed)
                .then_some("is in progress, but its order is not being paid")
        } else if (payment.amount_minor, payment.currency) != (order.total_minor, order.currency) {
            Some("has another amount than its order")
        } else {
            None
        };
        order.found += i64::from(attempt <= order.attempt);
        order.completed += i64::from(payment.state == PaymentState::Completed);
        if let Some(fault) = fault {
            self.differs(format!("payment {id} of order {order_id} {fault}"));
        }
    }

    fn finish(&mut self) {
        for (order_id, order) in std::mem::take(&mut self.known) {
            let is_paid = matches!(order.state, OrderState::Paid | OrderState::Completed);
            // The payment of an order that is being paid may be completed, or not exist yet.
            let is_paying = order.state == OrderState::Paying;
            if order.completed > 1 || (!is_paying && order.completed != i64::from(is_paid)) {
                let (state, completed) = (order.state.as_str(), order.completed);
                self.differs(format!("order {order_id} is {state}, and has {completed} completed payments"));
            }
            let missing = order.attempt - order.found;
            if missing != 0 && !(is_paying && missing == 1) {
                self.differs(format!(
                    "order {order_id} has begun {} payments, of which {missing} do not exist",
                    order.attempt
                ));
            }
        }
    }

    fn overdue(&mut self, what: &str, state: &str, due_at: Option<i64>, now: i64) {
        if due_at.is_some_and(|due_at| due_at.saturating_add(OVERDUE) < now) {
            self.differs(format!("{what} is {state}, and was due more than a minute ago"));
        }
    }

    fn differs(&mut self, difference: String) {
        self.difference_count += 1;
        if self.differences.len() < DESCRIBED {
            self.differences.push(difference);
        }
    }
}

fn event_of(order: &OrderRecord, at: Result<EventTime, u8>) -> Option<RecordedEvent> {
    let body = order_message(order)?.body;
    Some(RecordedEvent { content: EventContent::Order(event::of_order(order).into_owned()), body, at })
}

fn event_of_payment(payment: &PaymentRecord) -> Option<RecordedEvent> {
    let content = EventContent::Payment(event::of_payment(payment)?.into_owned());
    let body = payment_message(payment)?.body;
    Some(RecordedEvent { content, body, at: Ok(EventTime::stored(payment.state_at)) })
}
