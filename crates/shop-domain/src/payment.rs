//! Payments: the record of a payment of an order, or of a transaction that pays no order.

use super::identity::{self, RequestKey};
use super::money::Currency;
use super::order::OrderRecord;
use super::policy::OrderPolicy;
use ecom_clock::micros;
use ecom_domain::order::OrderId;
use ecom_domain::payment::CardLastFour;

/// The state of a payment. Completed and failed are final.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PaymentState {
    /// It was recorded.
    Pending,
    /// The gateway has been asked, or is about to be.
    Processing,
    /// The gateway has charged it.
    Completed,
    /// It was not charged.
    Failed,
}

impl PaymentState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Processing, Self::Completed, Self::Failed];

    /// Returns the word of the state in the store and in the fact table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Processing => "Processing",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
        }
    }

    /// Returns the state with this word, in any case; `None` if there is none.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str().eq_ignore_ascii_case(word))
    }

    /// Returns whether the payment stays in this state for ever.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// The record of a payment.
#[derive(Clone, PartialEq, Debug)]
pub struct PaymentRecord {
    /// The id, derived from the order and the attempt, or from the request.
    pub payment_id: i64,
    /// The account and idempotency key of the request that created it.
    pub request: RequestKey,
    /// SHA-256 of what was asked for, in hex.
    pub fingerprint: String,
    /// The order it pays, and which of the order's payments it is, from 1; `None` for a transaction without an order.
    pub of_order: Option<(OrderId, i64)>,
    /// Who pays.
    pub sender: String,
    /// Who is paid.
    pub receiver: String,
    /// The method, in the client's words.
    pub payment_method: Option<String>,
    /// The last four digits of the card.
    pub card_last_four: Option<CardLastFour>,
    /// The amount, in minor units.
    pub amount_minor: i64,
    /// The currency of the amount.
    pub currency: Currency,
    /// The time at which it was recorded, in microseconds since the epoch: T of the event that reports it as pending.
    pub created_at: i64,
    /// The state.
    pub state: PaymentState,
    /// The time of the state, in microseconds since the epoch: T of the event that reports it.
    pub state_at: i64,
    /// The time at which processing began, in microseconds since the epoch: T of the event that reports it as processing;
    /// `None` before, and if it failed before.
    pub processing_at: Option<i64>,
    /// The number of moves so far.
    pub revision: i64,
    /// The time at which somebody must look at it again, in microseconds since the epoch; `None` in a final state, and for a
    /// payment in processing whose order has such a time.
    pub due_at: Option<i64>,
    /// The cause, of a failed payment.
    pub error_message: Option<String>,
}

/// The receiver of the payments of orders.
pub const SHOP: &str = "shop";

/// The account of the payments that the processor opens itself.
pub const PROCESSOR: &str = "payment_processor";

impl PaymentRecord {
    /// Returns the payment that a paying order opens with the method it was created with: already in processing. `n` is
    /// the place of its id among those that [`identity::payment_ids`] offers, from 0.
    pub fn opened_by_processor(order: &OrderRecord, n: usize) -> Self {
        let id = identity::payment_ids(order.order_id, order.attempt).nth(n).unwrap_or_default();
        let at = order.state_at + 1;
        Self {
            payment_id: id,
            request: RequestKey {
                account: PROCESSOR.to_owned(),
                key: format!("{}/{}", order.order_id, order.attempt),
            },
            fingerprint: String::new(),
            of_order: Some((order.order_id, order.attempt)),
            sender: sender_of(order),
            receiver: SHOP.to_owned(),
            payment_method: order.document.payment_method.clone(),
            card_last_four: order.document.card_last_four.as_deref().and_then(CardLastFour::try_new),
            amount_minor: order.total_minor,
            currency: order.currency,
            created_at: at,
            state: PaymentState::Processing,
            state_at: at,
            processing_at: Some(at),
            revision: 0,
            due_at: None,
            error_message: None,
        }
    }

    /// Returns the record after a move to processing at `now`, in microseconds since the epoch.
    pub fn processing(&self, policy: &OrderPolicy, now: i64) -> Self {
        let next = self.moved(PaymentState::Processing, now, None);
        let due_at = next.state_at.saturating_add(micros(policy.resume_after));
        let due_at = self.of_order.is_none().then_some(due_at);
        Self { processing_at: Some(next.state_at), due_at, ..next }
    }

    /// Returns the record after it was charged.
    pub fn completed(&self, now: i64) -> Self {
        self.moved(PaymentState::Completed, now, None)
    }

    /// Returns the record after it failed for this cause.
    pub fn failed(&self, now: i64, error_message: String) -> Self {
        self.moved(PaymentState::Failed, now, Some(error_message))
    }

    fn moved(&self, state: PaymentState, now: i64, error_message: Option<String>) -> Self {
        Self {
            state,
            state_at: now.max(self.state_at + 1),
            revision: self.revision + 1,
            due_at: None,
            error_message,
            ..self.clone()
        }
    }

    /// Returns whether it is this payment of this order.
    pub fn is_of(&self, order_id: OrderId, attempt: i64) -> bool {
        self.of_order == Some((order_id, attempt))
    }
}

/// Returns the sender of an order's payments.
pub fn sender_of(order: &OrderRecord) -> String {
    format!("customer:{}", order.customer_id)
}
