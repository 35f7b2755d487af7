//! Orders: the record of an order, its states, and what decides the next one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::identity::RequestKey;
use super::inventory::Shortage;
use super::money::Currency;
use super::notice::Notice;
use super::payment::{PaymentRecord, PaymentState};
use super::policy::OrderPolicy;
use ecom_clock::micros;
use ecom_domain::order::OrderId;

/// The state of an order. It begins as accepted; refused, completed and cancelled are final.
///
/// ```text
/// accepted ─> placed <─> paying ─> paid ─> completed
///    │           └────────┴─> cancelled
///    └─> refused
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OrderState {
    /// It was recorded; nothing is reserved and nothing charged.
    Accepted,
    /// Its items are reserved; it waits for a payment.
    Placed,
    /// A payment of it is being processed.
    Paying,
    /// It is paid, and being fulfilled.
    Paid,
    /// It was fulfilled.
    Completed,
    /// It was not placed, and nothing was charged.
    Refused,
    /// It was placed, and is not going to be paid.
    Cancelled,
}

impl OrderState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Accepted,
        Self::Placed,
        Self::Paying,
        Self::Paid,
        Self::Completed,
        Self::Refused,
        Self::Cancelled,
    ];

    /// Returns the word of the state in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Placed => "placed",
            Self::Paying => "paying",
            Self::Paid => "paid",
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns the state with this word; `None` if there is none.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Returns the status that clients and the fact table see.
    pub fn status(self) -> &'static str {
        match self {
            Self::Accepted | Self::Placed | Self::Paying => "Pending",
            Self::Paid => "Processing",
            Self::Completed => "Completed",
            Self::Refused => "Refused",
            Self::Cancelled => "Cancelled",
        }
    }

    /// Returns whether an order event reports this state.
    pub fn is_published(self) -> bool {
        !matches!(self, Self::Accepted | Self::Refused)
    }

    /// Returns whether the order was paid.
    pub fn is_paid(self) -> bool {
        matches!(self, Self::Paid | Self::Completed)
    }

    /// Returns whether the order stays in this state for ever.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Refused | Self::Cancelled)
    }
}

/// The record of an order.
#[derive(Clone, PartialEq, Debug)]
pub struct OrderRecord {
    /// The id, derived from the request.
    pub order_id: OrderId,
    /// The account and idempotency key of the request that created it.
    pub request: RequestKey,
    /// SHA-256 of what was asked for, in hex: another one under the same key is refused.
    pub fingerprint: String,
    /// The customer.
    pub customer_id: i64,
    /// The currency of all its amounts.
    pub currency: Currency,
    /// The amount to be paid, in minor units.
    pub total_minor: i64,
    /// What was ordered, as accepted.
    pub document: OrderDocument,
    /// The time at which it was accepted, in microseconds since the epoch.
    pub created_at: i64,
    /// The state.
    pub state: OrderState,
    /// The time of the state, in microseconds since the epoch: T of the event that reports it.
    pub state_at: i64,
    /// The number of moves so far.
    pub revision: i64,
    /// The number of payments begun so far.
    pub attempt: i64,
    /// The time at which somebody must look at it again, in microseconds since the epoch; `None` in a final state.
    pub due_at: Option<i64>,
    /// The reason that it was refused or cancelled.
    pub detail: Option<String>,
    /// The record of its confirmation; `None` before there is one. Moves do not change it.
    pub notice: Option<Notice>,
}

/// What was ordered, with the prices of that moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OrderDocument {
    /// The lines, at least one.
    pub lines: Vec<OrderLine>,
    /// The price of all lines together, in minor units.
    pub merchandise_minor: i64,
    /// The shipping fee, in minor units.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shipping_minor: i64,
    /// The address to ship it to.
    pub shipping_address: String,
    /// The address to send the confirmation to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The method to pay with at once; `None` if the order waits for a payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<String>,
    /// The last four digits of the card to pay with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card_last_four: Option<String>,
}

/// A line of an order.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct OrderLine {
    /// The name of the item.
    pub item: String,
    /// The product of the inventory; `None` for an item without stock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<String>,
    /// When the line of the customer's cart was written that this line was taken from, in microseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_cart_since: Option<i64>,
    /// The quantity.
    pub quantity: i64,
    /// The price of one, in minor units; `None` if only the total is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_price_minor: Option<i64>,
}

/// What the next state of an order depends on, beside the order itself.
#[derive(Clone, Copy, Default, Debug)]
pub struct Evidence<'e> {
    /// The payment that the order waits for: of a placed order the next one, of a paying order the current one. `None` if
    /// there is none.
    pub payment: Option<&'e PaymentRecord>,
    /// A cancellation was asked for.
    pub is_cancellation_asked: bool,
    /// Of an accepted order: the units that could not be reserved. `None` if all are.
    pub shortage: Option<&'e Shortage>,
}

/// What to do about an order next.
#[derive(Clone, PartialEq, Debug)]
pub enum NextMove {
    /// Write this record, if the revision is still that of the one before.
    To(Box<OrderRecord>),
    /// Nothing until this time, in microseconds since the epoch; `None` in a final state.
    Wait(Option<i64>),
}

impl OrderRecord {
    /// Returns what to do about the order at `now`, in microseconds since the epoch. Everything that its state entails
    /// must be durable before the move is written.
    pub fn next(&self, evidence: Evidence<'_>, policy: &OrderPolicy, now: i64) -> NextMove {
        let is_due = self.due_at.is_some_and(|due_at| now >= due_at);
        let payment = evidence.payment.map(|payment| (payment.state, payment.error_message.as_deref()));
        match (self.state, payment) {
            (OrderState::Accepted, _) if is_due => self.to(
                OrderState::Refused,
                policy,
                now,
                Some("it was not processed in time, and nothing was charged"),
            ),
            (OrderState::Accepted, _) if evidence.shortage.is_some() => {
                let shortage = evidence.shortage.map(ToString::to_string);
                self.to(OrderState::Refused, policy, now, shortage.as_deref())
            }
            (OrderState::Accepted, _) if self.document.payment_method.is_some() => {
                self.to_paying(policy, now)
            }
            (OrderState::Accepted, _) => self.to(OrderState::Placed, policy, now, None),
            (OrderState::Placed, _) if evidence.is_cancellation_asked => {
                self.to(OrderState::Cancelled, policy, now, Some("cancelled on request"))
            }
            (OrderState::Placed, Some(_)) if !is_due => self.to_paying(policy, now),
            (OrderState::Placed, _) if is_due => {
                self.to(OrderState::Cancelled, policy, now, Some("not paid in time"))
            }
            (OrderState::Paying, Some((PaymentState::Completed, _))) => {
                self.to(OrderState::Paid, policy, now, None)
            }
            (OrderState::Paying, Some((PaymentState::Failed, error))) => {
                if policy.payment_retry_window.is_zero() {
                    self.to(OrderState::Cancelled, policy, now, error.or(Some("the payment failed")))
                } else {
                    self.to(OrderState::Placed, policy, now, error)
                }
            }
            (OrderState::Paid, _) if is_due => self.to(OrderState::Completed, policy, now, None),
            (
                OrderState::Placed
                | OrderState::Paying
                | OrderState::Paid
                | OrderState::Completed
                | OrderState::Refused
                | OrderState::Cancelled,
                _,
            ) => NextMove::Wait(self.due_at),
        }
    }

    fn to_paying(&self, policy: &OrderPolicy, now: i64) -> NextMove {
        let mut next = self.moved(OrderState::Paying, policy, now, None);
        next.attempt += 1;
        NextMove::To(Box::new(next))
    }

    fn to(&self, state: OrderState, policy: &OrderPolicy, now: i64, detail: Option<&str>) -> NextMove {
        NextMove::To(Box::new(self.moved(state, policy, now, detail)))
    }

    /// Returns the record after a move at `now`. Its time is later than that of the state before, whatever the clock says.
    fn moved(&self, state: OrderState, policy: &OrderPolicy, now: i64, detail: Option<&str>) -> Self {
        let state_at = now.max(self.state_at + 1);
        let wait = match state {
            OrderState::Accepted => Some(policy.accept_deadline),
            OrderState::Placed if self.state == OrderState::Paying => Some(policy.payment_retry_window),
            OrderState::Placed => Some(policy.payment_deadline),
            OrderState::Paying => Some(policy.resume_after),
            OrderState::Paid => Some(policy.completion_delay),
            OrderState::Completed | OrderState::Refused | OrderState::Cancelled => None,
        };
        Self {
            state,
            state_at,
            revision: self.revision + 1,
            due_at: wait.map(|wait| state_at.saturating_add(micros(wait))),
            detail: detail.map(str::to_owned),
            ..self.clone()
        }
    }

    /// Returns the units of each product that the order needs, by SKU.
    pub fn needs(&self) -> BTreeMap<&str, i64> {
        let mut needs = BTreeMap::new();
        for line in &self.document.lines {
            if let Some(sku) = &line.sku {
                *needs.entry(sku.as_str()).or_default() += line.quantity;
            }
        }
        needs
    }

    /// Returns whether this record was created by that request.
    pub fn is_of(&self, request: &RequestKey) -> bool {
        self.request == *request
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_750_000_000_000_000;

    fn order(payment_method: Option<&str>) -> OrderRecord {
        let policy = OrderPolicy::default();
        OrderRecord {
            order_id: OrderId(7_000_000_000_000_001),
            request: RequestKey { account: "shop".into(), key: "cart-42".into() },
            fingerprint: "f".into(),
            customer_id: 7,
            currency: Currency::try_new("USD").unwrap(),
            total_minor: 200,
            document: OrderDocument {
                lines: vec![OrderLine {
                    item: "Mouse".into(),
                    quantity: 2,
                    unit_price_minor: Some(100),
                    ..OrderLine::default()
                }],
                merchandise_minor: 200,
                shipping_minor: 0,
                shipping_address: "1 Main St".into(),
                email: None,
                payment_method: payment_method.map(str::to_owned),
                card_last_four: None,
            },
            created_at: START,
            state: OrderState::Accepted,
            state_at: START,
            revision: 0,
            attempt: 0,
            due_at: Some(START + micros(policy.accept_deadline)),
            detail: None,
            notice: None,
        }
    }

    fn payment(of: &OrderRecord, attempt: i64, state: PaymentState) -> PaymentRecord {
        let mut payment = PaymentRecord::opened_by_processor(&OrderRecord { attempt, ..of.clone() }, 1);
        payment.state = state;
        payment.error_message = (state == PaymentState::Failed).then(|| "card declined".to_owned());
        payment
    }

    fn moved(next: NextMove) -> OrderRecord {
        match next {
            NextMove::To(order) => *order,
            NextMove::Wait(until) => panic!("it waits until {until:?}"),
        }
    }

    #[test]
    fn an_order_with_a_method_is_paid_and_completed() {
        let policy = OrderPolicy::default();
        let accepted = order(Some("PayPal"));
        let paying = moved(accepted.next(Evidence::default(), &policy, START + 5));
        assert_eq!(
            (paying.state, paying.attempt, paying.state_at, paying.revision),
            (OrderState::Paying, 1, START + 5, 1)
        );
        assert!(matches!(paying.next(Evidence::default(), &policy, START + 6), NextMove::Wait(Some(_))));
        let done = payment(&paying, 1, PaymentState::Completed);
        let evidence = Evidence { payment: Some(&done), ..Evidence::default() };
        // A clock that was set back: the time of the state rises all the same.
        let paid = moved(paying.next(evidence, &policy, START));
        assert_eq!((paid.state, paid.state_at), (OrderState::Paid, START + 6));
        let due_at = START + 6 + micros(policy.completion_delay);
        assert_eq!(paid.next(evidence, &policy, due_at - 1), NextMove::Wait(Some(due_at)));
        let completed = moved(paid.next(evidence, &policy, due_at));
        assert_eq!((completed.state, completed.due_at), (OrderState::Completed, None));
        assert_eq!(completed.next(evidence, &policy, due_at + 1), NextMove::Wait(None));
    }

    #[test]
    fn an_order_without_a_method_waits_for_a_payment_and_is_cancelled_in_the_end() {
        let policy = OrderPolicy::default();
        let placed = moved(order(None).next(Evidence::default(), &policy, START));
        let due_at = placed.due_at.unwrap();
        assert_eq!(placed.next(Evidence::default(), &policy, due_at - 1), NextMove::Wait(Some(due_at)));
        let cancelled = moved(placed.next(Evidence::default(), &policy, due_at));
        assert_eq!(
            (cancelled.state, cancelled.detail.as_deref()),
            (OrderState::Cancelled, Some("not paid in time"))
        );
        let pending = payment(&placed, 1, PaymentState::Pending);
        let evidence = Evidence { payment: Some(&pending), ..Evidence::default() };
        assert_eq!(moved(placed.next(evidence, &policy, due_at - 1)).state, OrderState::Paying);
        assert_eq!(
            moved(placed.next(evidence, &policy, due_at)).state,
            OrderState::Cancelled,
            "a payment one moment too late"
        );
        let asked = Evidence { is_cancellation_asked: true, ..evidence };
        assert_eq!(moved(placed.next(asked, &policy, START + 1)).state, OrderState::Cancelled);
    }

    #[test]
    fn a_failed_payment_cancels_the_order_unless_another_may_follow() {
        let policy = OrderPolicy::default();
        let paying = moved(order(Some("PayPal")).next(Evidence::default(), &policy, START));
        let failed = payment(&paying, 1, PaymentState::Failed);
        let evidence = Evidence { payment: Some(&failed), ..Evidence::default() };
        let cancelled = moved(paying.next(evidence, &policy, START + 9));
        assert_eq!(
            (cancelled.state, cancelled.detail.as_deref()),
            (OrderState::Cancelled, Some("card declined"))
        );
        let patient = OrderPolicy { payment_retry_window: Duration::from_secs(60), ..policy };
        let placed = moved(paying.next(evidence, &patient, START + 9));
        assert_eq!((placed.state, placed.due_at), (OrderState::Placed, Some(START + 9 + 60_000_000)));
    }

    #[test]
    fn an_order_that_is_processed_too_late_is_refused_and_a_cancellation_of_a_paid_one_changes_nothing() {
        let policy = OrderPolicy::default();
        let accepted = order(Some("PayPal"));
        let refused = moved(accepted.next(Evidence::default(), &policy, accepted.due_at.unwrap()));
        assert_eq!((refused.state, refused.attempt), (OrderState::Refused, 0));
        let paid = OrderRecord { state: OrderState::Paid, due_at: Some(START + 50), ..accepted };
        let asked = Evidence { is_cancellation_asked: true, ..Evidence::default() };
        assert_eq!(paid.next(asked, &policy, START + 49), NextMove::Wait(Some(START + 50)));
    }

    #[test]
    fn an_order_whose_units_are_not_there_is_refused_and_lines_of_one_product_count_together() {
        let policy = OrderPolicy::default();
        let mut accepted = order(Some("PayPal"));
        let line =
            |sku: &str, quantity| OrderLine { sku: Some(sku.into()), quantity, ..OrderLine::default() };
        accepted.document.lines.extend([line("B", 1), line("A", 2), line("B", 3)]);
        assert_eq!(accepted.needs(), BTreeMap::from([("A", 2), ("B", 4)]));
        let shortage = Shortage { sku: "B".into(), wanted: 4, available: 3 };
        let evidence = Evidence { shortage: Some(&shortage), ..Evidence::default() };
        let refused = moved(accepted.next(evidence, &policy, START));
        assert_eq!(refused.state, OrderState::Refused);
        assert_eq!(refused.detail.as_deref().and_then(Shortage::parse), Some(shortage));
    }

    proptest! {
        /// Whatever happens in whatever order, times and revisions rise by move, a final state is never left, and an
        /// order is completed only after a payment was.
        #[test]
        fn an_order_only_moves_forward(
            pays_at_once in any::<bool>(),
            retries in any::<bool>(),
            steps in prop::collection::vec((0_usize..5, any::<bool>(), -5_000_000_i64..90_000_000), 1..40),
        ) {
            let window = if retries { Duration::from_secs(30) } else { Duration::ZERO };
            let policy = OrderPolicy { payment_retry_window: window, ..OrderPolicy::default() };
            let (mut current, mut now, mut was_paid) = (order(pays_at_once.then_some("PayPal")), START, false);
            for (state, is_cancellation_asked, advance) in steps {
                now += advance;
                let awaited = current.attempt + i64::from(current.state == OrderState::Placed);
                let payment = PaymentState::ALL.get(state).map(|state| payment(&current, awaited, *state));
                let evidence = Evidence { payment: payment.as_ref(), is_cancellation_asked, shortage: None };
                let NextMove::To(next) = current.next(evidence, &policy, now) else { continue };
                prop_assert!(!current.state.is_final(), "{:?}", current.state);
                prop_assert!(next.state_at > current.state_at && next.revision == current.revision + 1);
                prop_assert_eq!(next.attempt - current.attempt, i64::from(next.state == OrderState::Paying));
                prop_assert_eq!(next.due_at.is_none(), next.state.is_final());
                was_paid |= next.state == OrderState::Paid;
                prop_assert!(next.state != OrderState::Completed || was_paid);
                prop_assert!(next.state != OrderState::Refused || next.attempt == 0);
                current = *next;
            }
        }
    }
}
