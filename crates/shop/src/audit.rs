//! The audit of the records: whether orders and payments add up, and which events they imply.

use std::collections::{BTreeMap, HashMap};

use futures_util::TryStreamExt;
use serde::Serialize;

use super::events::{order_message, payment_message};
use ecom_domain::event_time::EventTime;
use ecom_domain::order::OrderId;
use ecom_scenario::{EventContent, RecordedEvent};
use ecom_shop_domain::event;
use ecom_shop_domain::identity;
use ecom_shop_domain::inventory::{Reservation, ReservationState, Stock};
use ecom_shop_domain::money::Currency;
use ecom_shop_domain::order::{OrderRecord, OrderState};
use ecom_shop_domain::payment::{PROCESSOR, PaymentRecord, PaymentState};
use ecom_shop_store::{InventoryStore, OrderStore, PaymentStore};
use ecom_store::StoreError;

/// The time after which a record that is due counts as left behind, in microseconds.
const OVERDUE: i64 = 60_000_000;
/// The ids that a request may have, of which all but the first are for collisions.
const CANDIDATES: usize = 16;
/// Products per page.
const PAGE: usize = 500;
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
    /// Notices about confirmations, by outcome.
    pub notices: BTreeMap<&'static str, u64>,
    /// The number of products.
    pub products: u64,
    /// Units that were ever put in, that are there, that are reserved, and that were sold, over all products.
    pub units: UnitCounts,
    /// The number of differences.
    pub difference_count: u64,
    /// Descriptions of the first differences.
    pub differences: Vec<String>,
    /// The events that the records imply.
    pub events: Vec<RecordedEvent>,
    known: HashMap<OrderId, KnownOrder>,
}

/// Units over all products.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct UnitCounts {
    /// Units that were ever put in.
    pub stocked: i64,
    /// Units that are there, reserved ones included.
    pub on_hand: i64,
    /// Units that orders have reserved.
    pub reserved: i64,
    /// Units that were sold.
    pub sold: i64,
}

/// What is known of an order, and of its payments so far.
#[derive(Debug)]
struct KnownOrder {
    state: OrderState,
    attempt: i64,
    total_minor: i64,
    currency: Currency,
    /// The units that it needs, by SKU.
    needs: BTreeMap<String, i64>,
    /// Payments found, but not one that the order does not count yet.
    found: i64,
    completed: i64,
}

/// Reads all records, the inventory last, and adds them up. The processors must be idle; a record in the middle of a step that is not due
/// counts as correct.
///
/// # Errors
/// The error of the store, which makes the result unknown.
pub async fn audit(
    orders: &dyn OrderStore,
    payments: &dyn PaymentStore,
    inventory: &dyn InventoryStore,
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
    audit.stock(inventory).await?;
    audit.finish();
    Ok(audit)
}

impl ShopAudit {
    fn order(&mut self, order: &OrderRecord, now: i64) {
        *self.orders.entry(order.state.as_str()).or_default() += 1;
        let OrderRecord { order_id, state, attempt, total_minor, currency, .. } = *order;
        let needs = order.needs().into_iter().map(|(sku, units)| (sku.to_owned(), units)).collect();
        let known = KnownOrder { state, attempt, total_minor, currency, needs, found: 0, completed: 0 };
        self.known.insert(order_id, known);
        if !identity::order_ids(&order.request).take(CANDIDATES).any(|id| id == order_id) {
            self.differs(format!("order {order_id} has an id that its idempotency key does not give"));
        }
        if order.document.merchandise_minor + order.document.shipping_minor != total_minor {
            self.differs(format!("the lines of order {order_id} do not add up to its total"));
        }
        match (&order.notice, state.is_paid()) {
            (Some(notice), true) => *self.notices.entry(notice.outcome.as_str()).or_default() += 1,
            (None, false) => {}
            (None, true) => self.differs(format!(
                "order {order_id} is {}, and its confirmation was neither sent nor given up",
                state.as_str()
            )),
            (Some(notice), false) => self.differs(format!(
                "order {order_id} is {}, and its confirmation is {}",
                state.as_str(),
                notice.outcome.as_str()
            )),
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

    /// Compares the stock of each product with the reservations of it, and those with their orders.
    async fn stock(&mut self, inventory: &dyn InventoryStore) -> Result<(), StoreError> {
        let mut by_product: BTreeMap<String, UnitCounts> = BTreeMap::new();
        let mut all = inventory.reservations();
        while let Some((sku, order_id, reservation)) = all.try_next().await? {
            self.reservation(&sku, order_id, reservation);
            let units = by_product.entry(sku).or_default();
            match reservation.state {
                ReservationState::Reserved => units.reserved += reservation.quantity,
                ReservationState::Sold => units.sold += reservation.quantity,
                ReservationState::Released => {}
            }
        }
        let mut behind = None;
        loop {
            let page = inventory.products_after(behind.as_deref(), PAGE).await?;
            for product in page.records {
                let (sku, Stock { on_hand, reserved, stocked, .. }) = (product.sku, product.stock);
                let units = by_product.remove(&sku).unwrap_or_default();
                let (is_reserved, is_sold) = (units.reserved == reserved, units.sold + on_hand == stocked);
                if !(is_reserved && is_sold && 0 <= reserved && reserved <= on_hand) {
                    self.differs(format!(
                        "{sku}: {stocked} units were put in, {on_hand} are there and {reserved} reserved, and its orders \
                         have bought {} and reserved {}",
                        units.sold, units.reserved
                    ));
                }
                self.products += 1;
                self.units.stocked += stocked;
                self.units.on_hand += on_hand;
                self.units.reserved += reserved;
                self.units.sold += units.sold;
            }
            match page.next {
                Some(next) => behind = Some(next),
                None => break,
            }
        }
        for sku in by_product.into_keys() {
            self.differs(format!("{sku} has reservations and is no product"));
        }
        // Units of an order that no reservation has accounted for.
        let missing: Vec<String> =
            self.known.iter().filter_map(|(id, order)| order.unaccounted(*id)).collect();
        missing.into_iter().for_each(|difference| self.differs(difference));
        Ok(())
    }

    fn reservation(&mut self, sku: &str, order_id: OrderId, reservation: Reservation) {
        let Some(order) = self.known.get_mut(&order_id) else {
            return self.differs(format!("order {order_id} has reserved {sku} and does not exist"));
        };
        let wanted = order.needs.remove(sku);
        let (state, quantity) = (reservation.state, reservation.quantity);
        let is_right = match order.state {
            // In the middle of a step: some units may have moved already.
            OrderState::Accepted => matches!(state, ReservationState::Reserved),
            OrderState::Placed | OrderState::Paying => state == ReservationState::Reserved,
            OrderState::Paid => state != ReservationState::Released,
            OrderState::Completed => state == ReservationState::Sold,
            OrderState::Refused | OrderState::Cancelled => state == ReservationState::Released,
        };
        let is_whole = wanted == Some(quantity) || (quantity == 0 && state == ReservationState::Released);
        if !is_right || !is_whole {
            let (order, state) = (order.state.as_str(), state.as_str());
            self.differs(format!(
                "order {order_id} is {order}, and its {quantity} units of {sku} are {state}"
            ));
        }
    }

    fn finish(&mut self) {
        for (order_id, order) in std::mem::take(&mut self.known) {
            let is_paid = order.state.is_paid();
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

impl KnownOrder {
    /// Describes units that the order must have, and of which there is no reservation.
    fn unaccounted(&self, order_id: OrderId) -> Option<String> {
        let must_have = matches!(
            self.state,
            OrderState::Placed | OrderState::Paying | OrderState::Paid | OrderState::Completed
        );
        let (sku, units) = self.needs.first_key_value().filter(|_| must_have)?;
        let state = self.state.as_str();
        Some(format!("order {order_id} is {state}, and has not reserved its {units} units of {sku}"))
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
