//! Recording what is asked for, exactly once in effect.
//!
//! A request is recorded under an id that is derived from its idempotency key, then the payment processor is asked to
//! process the record, then the request is answered with the record that stands. Whoever repeats it, after whatever went
//! wrong, finds the same record.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::api::{Api, CallContext};
use super::auth::{Caller, CallerRole};
use super::order_request::OrderRequest;
use super::payment_request::PaymentRequest;
use super::problem::{Problem, ProblemCode};
use super::transactions::TransactionRequest;
use ecom_clock::micros;
use ecom_domain::order::OrderId;
use ecom_domain::payment::CardLastFour;
use ecom_shop_domain::identity::{self, FIRST, RequestKey};
use ecom_shop_domain::order::{OrderRecord, OrderState};
use ecom_shop_domain::order_number;
use ecom_shop_domain::payment::{PaymentRecord, PaymentState, SHOP, sender_of};
use ecom_shop_domain::request::ProcessingRequest;
use ecom_shop_store::ReadGuarantee;

/// A record that stands after a request.
pub(crate) struct Accepted<R> {
    pub(crate) record: R,
    /// True if it was recorded by an earlier request with the same key.
    pub(crate) is_replayed: bool,
}

impl Api {
    /// Records an order.
    pub(crate) async fn accept_order(
        &self,
        call: &CallContext,
        key: Option<String>,
        asked: OrderRequest,
    ) -> Result<Accepted<OrderRecord>, Problem> {
        let request = self.request_key(&call.caller, key);
        let fingerprint = fingerprint("order", &asked)?;
        let now = self.clock.now_us();
        let mut order = OrderRecord {
            order_id: OrderId(0),
            request,
            fingerprint,
            customer_id: asked.customer_id,
            currency: asked.currency,
            total_minor: asked.document.merchandise_minor + asked.document.shipping_minor,
            document: asked.document,
            created_at: now,
            state: OrderState::Accepted,
            state_at: now,
            revision: 0,
            attempt: 0,
            due_at: Some(now.saturating_add(micros(self.policy.accept_deadline))),
            detail: None,
        };
        for order_id in identity::order_ids(&order.request) {
            order.order_id = order_id;
            let created = self.backends.orders.create_order(&order).await?;
            if !created.record.is_of(&order.request) {
                // Another request has this id.
                continue;
            }
            same_request(&created.record.fingerprint, &order.fingerprint)?;
            if created.record.state == OrderState::Accepted {
                self.ask(ProcessingRequest::OrderId(order_id.0), &call.request_id.0).await?;
            }
            return Ok(Accepted { record: created.record, is_replayed: !created.is_new });
        }
        Err(Problem::new(ProblemCode::Internal))
    }

    /// Records a payment of an order.
    pub(crate) async fn accept_payment(
        &self,
        call: &CallContext,
        key: Option<String>,
        order: &OrderRecord,
        asked: PaymentRequest,
    ) -> Result<Accepted<PaymentRecord>, Problem> {
        let request = self.request_key(&call.caller, key);
        let fingerprint = fingerprint(&format!("payment of {}", order.order_id), &asked)?;
        // The key may be that of an earlier payment of this order.
        let mut last = None;
        for attempt in 1..=order.attempt {
            let payment = self.payment_of(order.order_id, attempt, ReadGuarantee::Linearizable).await?;
            if let Some(payment) = payment.as_ref().filter(|payment| payment.request == request) {
                same_request(&payment.fingerprint, &fingerprint)?;
                return Ok(Accepted { record: payment.clone(), is_replayed: true });
            }
            last = payment.or(last);
        }
        payable(order)?;
        let attempt = order.attempt + 1;
        let earliest = last.map_or(order.state_at, |payment| payment.state_at.max(order.state_at)) + 1;
        let now = self.clock.now_us().max(earliest);
        let mut payment = PaymentRecord {
            payment_id: 0,
            request,
            fingerprint,
            of_order: Some((order.order_id, attempt)),
            sender: sender_of(order),
            receiver: SHOP.to_owned(),
            payment_method: Some(asked.payment_method),
            card_last_four: asked.card_last_four.as_deref().and_then(CardLastFour::try_new),
            amount_minor: order.total_minor,
            currency: order.currency,
            created_at: now,
            state: PaymentState::Pending,
            state_at: now,
            processing_at: None,
            revision: 0,
            due_at: Some(now.saturating_add(micros(self.policy.accept_deadline))),
            error_message: None,
        };
        for payment_id in identity::payment_ids(order.order_id, attempt) {
            payment.payment_id = payment_id;
            let created = self.backends.payments.create_payment(&payment).await?;
            if !created.record.is_of(order.order_id, attempt) {
                continue;
            }
            if created.record.request != payment.request {
                return Err(in_progress(&created.record));
            }
            same_request(&created.record.fingerprint, &payment.fingerprint)?;
            if created.record.state == PaymentState::Pending {
                self.ask(ProcessingRequest::OrderId(order.order_id.0), &call.request_id.0).await?;
            }
            return Ok(Accepted { record: created.record, is_replayed: !created.is_new });
        }
        Err(Problem::new(ProblemCode::Internal))
    }

    /// Records a transaction without an order.
    pub(crate) async fn accept_transaction(
        &self,
        call: &CallContext,
        key: Option<String>,
        asked: TransactionRequest,
    ) -> Result<Accepted<PaymentRecord>, Problem> {
        let request = self.request_key(&call.caller, key);
        let fingerprint = fingerprint("transaction", &asked)?;
        let now = self.clock.now_us();
        let mut payment = PaymentRecord {
            payment_id: 0,
            request,
            fingerprint,
            of_order: None,
            sender: asked.sender,
            receiver: asked.receiver,
            payment_method: None,
            card_last_four: None,
            amount_minor: asked.amount_minor,
            currency: asked.currency,
            created_at: now,
            state: PaymentState::Pending,
            state_at: now,
            processing_at: None,
            revision: 0,
            due_at: Some(now.saturating_add(micros(self.policy.accept_deadline))),
            error_message: None,
        };
        for payment_id in identity::transaction_ids(&payment.request) {
            payment.payment_id = payment_id;
            let created = self.backends.payments.create_payment(&payment).await?;
            if created.record.of_order.is_some() || created.record.request != payment.request {
                continue;
            }
            same_request(&created.record.fingerprint, &payment.fingerprint)?;
            if created.record.state == PaymentState::Pending {
                self.ask(ProcessingRequest::PaymentId(payment_id), &call.request_id.0).await?;
            }
            return Ok(Accepted { record: created.record, is_replayed: !created.is_new });
        }
        Err(Problem::new(ProblemCode::Internal))
    }

    /// Returns the order that a client names by id, number or idempotency key, if the client may see it.
    pub(crate) async fn find_order(
        &self,
        caller: &Caller,
        name: &str,
        guarantee: ReadGuarantee,
    ) -> Result<OrderRecord, Problem> {
        let by_id = name.parse().ok().filter(|id| *id >= FIRST).or_else(|| order_number::parse(name));
        let order = match by_id {
            Some(id) => self.backends.orders.order(OrderId(id), guarantee).await?,
            None => self.order_of_key(caller, name, guarantee).await?,
        };
        let visible = order.filter(|order| caller.may_see(order.customer_id));
        visible.ok_or_else(|| Problem::new(ProblemCode::NotFound))
    }

    /// Returns the order that the caller created with this idempotency key.
    pub(crate) async fn order_of_key(
        &self,
        caller: &Caller,
        key: &str,
        guarantee: ReadGuarantee,
    ) -> Result<Option<OrderRecord>, Problem> {
        let request = RequestKey { account: caller.account.to_string(), key: key.to_owned() };
        for order_id in identity::order_ids(&request) {
            match self.backends.orders.order(order_id, guarantee).await? {
                Some(order) if order.is_of(&request) => return Ok(Some(order)),
                Some(_) => {}
                None => break,
            }
        }
        Ok(None)
    }

    /// Returns a payment of an order by its number from 1; `None` if there is none.
    pub(crate) async fn payment_of(
        &self,
        order_id: OrderId,
        attempt: i64,
        guarantee: ReadGuarantee,
    ) -> Result<Option<PaymentRecord>, Problem> {
        for payment_id in identity::payment_ids(order_id, attempt) {
            match self.backends.payments.payment(payment_id, guarantee).await? {
                Some(payment) if payment.is_of(order_id, attempt) => return Ok(Some(payment)),
                Some(_) => {}
                None => break,
            }
        }
        Ok(None)
    }

    /// Returns the customer whose orders a caller may list; `None` for all.
    pub(crate) fn customer_of_list(
        &self,
        caller: &Caller,
        asked: Option<i64>,
    ) -> Result<Option<i64>, Problem> {
        match (caller.role, asked) {
            (CallerRole::Customer(own), Some(asked)) if asked != own => {
                Err(Problem::detailed(ProblemCode::Forbidden, "customer_id is not that of this key"))
            }
            (CallerRole::Customer(own), _) => Ok(Some(own)),
            (CallerRole::Shop | CallerRole::Reader, asked) => Ok(asked),
        }
    }

    fn request_key(&self, caller: &Caller, key: Option<String>) -> RequestKey {
        RequestKey { account: caller.account.to_string(), key: key.unwrap_or_else(|| self.uuid()) }
    }
}

/// Returns an error if an order cannot be paid now.
fn payable(order: &OrderRecord) -> Result<(), Problem> {
    let problem = match order.state {
        OrderState::Placed => return Ok(()),
        OrderState::Accepted if order.document.payment_method.is_none() => return Ok(()),
        OrderState::Accepted | OrderState::Paying => Problem::new(ProblemCode::PaymentInProgress),
        OrderState::Paid | OrderState::Completed => Problem::new(ProblemCode::AlreadyPaid),
        OrderState::Refused | OrderState::Cancelled => Problem::new(ProblemCode::OrderCancelled),
    };
    Err(problem)
}

fn in_progress(payment: &PaymentRecord) -> Problem {
    let code = match payment.state {
        PaymentState::Completed => ProblemCode::AlreadyPaid,
        _ => ProblemCode::PaymentInProgress,
    };
    Problem::detailed(code, format!("see /api/v1/transactions/{}", payment.payment_id))
}

fn same_request(recorded: &str, asked: &str) -> Result<(), Problem> {
    if recorded == asked { Ok(()) } else { Err(Problem::new(ProblemCode::IdempotencyKeyReused)) }
}

/// Returns the SHA-256 of what was asked for, in hex. The order of fields and the notation of numbers do not count.
fn fingerprint(kind: &str, asked: &impl Serialize) -> Result<String, Problem> {
    let json = serde_json::to_vec(asked).map_err(|_| Problem::new(ProblemCode::Internal))?;
    let digest = Sha256::new().chain_update(kind).chain_update([0]).chain_update(json).finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}
