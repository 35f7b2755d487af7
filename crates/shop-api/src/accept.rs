//! Recording what is asked for, exactly once in effect.
//!
//! A request is recorded under an id that is derived from its idempotency key, then the payment processor is asked to
//! process the record, then the request is answered with the record that stands. Whoever repeats it, after whatever went
//! wrong, finds the same record.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::api::{Api, CallContext};
use super::auth::Caller;
use super::checkout_request::CheckoutRequest;
use super::order_request::OrderRequest;
use super::payment_request::PaymentRequest;
use super::problem::{Problem, ProblemCode};
use super::transactions::TransactionRequest;
use ecom_clock::micros;
use ecom_domain::order::OrderId;
use ecom_domain::payment::CardLastFour;
use ecom_shop_domain::identity::{self, FIRST, RequestKey};
use ecom_shop_domain::money::Currency;
use ecom_shop_domain::order::{OrderRecord, OrderState};
use ecom_shop_domain::order_number;
use ecom_shop_domain::payment::{PaymentRecord, PaymentState, SHOP, sender_of};
use ecom_shop_domain::request::ProcessingRequest;
use ecom_shop_store::{Created, ReadGuarantee};

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
        key: &str,
        asked: OrderRequest,
    ) -> Result<Accepted<OrderRecord>, Problem> {
        let fingerprint = fingerprint("order", &asked)?;
        if asked.skus().next().is_none() {
            return self.create_order(call, key, fingerprint, asked).await;
        }
        let price = async { self.products(asked.skus()).await.and_then(|products| asked.priced(&products)) };
        self.accept_priced(call, key, fingerprint, price).await
    }

    /// Records the order of a checkout.
    pub(crate) async fn accept_checkout(
        &self,
        call: &CallContext,
        key: &str,
        asked: CheckoutRequest,
    ) -> Result<Accepted<OrderRecord>, Problem> {
        let fingerprint = fingerprint("checkout", &asked)?;
        self.accept_priced(call, key, fingerprint, self.price_checkout(asked)).await
    }

    /// Records an order at the prices of now, unless its request was recorded before: prices and carts change, and the
    /// request remains the same.
    async fn accept_priced(
        &self,
        call: &CallContext,
        key: &str,
        fingerprint: String,
        price: impl Future<Output = Result<OrderRequest, Problem>>,
    ) -> Result<Accepted<OrderRecord>, Problem> {
        const GUARANTEE: ReadGuarantee = ReadGuarantee::Linearizable;
        let recorded = self.order_of_key(&call.caller, key, GUARANTEE).await?;
        let (recorded, problem) = match recorded {
            Some(recorded) => (Some(recorded), None),
            None => match price.await {
                Ok(order) => return self.create_order(call, key, fingerprint, order).await,
                // The same request may have been recorded meanwhile, and have taken the lines out of the cart.
                Err(problem) => (self.order_of_key(&call.caller, key, GUARANTEE).await?, Some(problem)),
            },
        };
        match (recorded, problem) {
            (Some(record), _) => {
                self.order_recorded(call, Created { record, is_new: false }, &fingerprint).await
            }
            (None, problem) => Err(problem.unwrap_or_else(|| Problem::new(ProblemCode::Internal))),
        }
    }

    /// Records an order whose lines have their prices.
    async fn create_order(
        &self,
        call: &CallContext,
        key: &str,
        fingerprint: String,
        asked: OrderRequest,
    ) -> Result<Accepted<OrderRecord>, Problem> {
        let now = self.clock.now_us();
        let mut order = OrderRecord {
            order_id: OrderId(0),
            request: call.caller.request_key(key),
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
            notice: None,
        };
        for order_id in identity::order_ids(&order.request) {
            order.order_id = order_id;
            let created = self.backends.orders.create_order(&order).await?;
            if !created.record.is_of(&order.request) {
                // Another request has this id.
                continue;
            }
            return self.order_recorded(call, created, &order.fingerprint).await;
        }
        Err(Problem::new(ProblemCode::Internal))
    }

    /// Asks the payment processor to process an order, unless it has begun already.
    async fn order_recorded(
        &self,
        call: &CallContext,
        created: Created<OrderRecord>,
        fingerprint: &str,
    ) -> Result<Accepted<OrderRecord>, Problem> {
        let Created { record, is_new } = created;
        same_request(&record.fingerprint, fingerprint)?;
        if record.state == OrderState::Accepted {
            self.ask(ProcessingRequest::OrderId(record.order_id.0), call).await?;
        }
        Ok(Accepted { record, is_replayed: !is_new })
    }

    /// Records a payment of an order.
    pub(crate) async fn accept_payment(
        &self,
        call: &CallContext,
        key: &str,
        order: &OrderRecord,
        asked: PaymentRequest,
    ) -> Result<Accepted<PaymentRecord>, Problem> {
        let fingerprint = fingerprint(&format!("payment of {}", order.order_id), &asked)?;
        let attempt = order.attempt + 1;
        let mut payment = PaymentRecord {
            fingerprint,
            of_order: Some((order.order_id, attempt)),
            sender: sender_of(order),
            receiver: SHOP.to_owned(),
            payment_method: Some(asked.payment_method),
            card_last_four: asked.card_last_four.as_deref().and_then(CardLastFour::try_new),
            ..self.pending(call.caller.request_key(key), order.total_minor, order.currency)
        };
        // The key may be that of an earlier payment, or of one that the order has not begun.
        let mut last = None;
        for earlier in 1..=attempt {
            let found = self.payment_of(order.order_id, earlier, ReadGuarantee::Linearizable).await?;
            match found {
                Some(found) if found.request == payment.request => {
                    let found = Created { record: found, is_new: false };
                    return self.recorded(call, found, &payment.fingerprint).await;
                }
                found => last = found.or(last),
            }
        }
        payable(order)?;
        let last_change = last.map_or(order.state_at, |last| last.state_at.max(order.state_at));
        let ids = identity::payment_ids(order.order_id, attempt);
        payment.created_at = payment.created_at.max(last_change + 1);
        payment.state_at = payment.created_at;
        let created =
            self.create_payment(ids, &payment, |record| record.is_of(order.order_id, attempt)).await?;
        if created.record.request != payment.request {
            return Err(in_progress(&created.record));
        }
        self.recorded(call, created, &payment.fingerprint).await
    }

    /// Records a transaction without an order.
    pub(crate) async fn accept_transaction(
        &self,
        call: &CallContext,
        key: &str,
        asked: TransactionRequest,
    ) -> Result<Accepted<PaymentRecord>, Problem> {
        let fingerprint = fingerprint("transaction", &asked)?;
        let payment = PaymentRecord {
            fingerprint,
            sender: asked.sender,
            receiver: asked.receiver,
            ..self.pending(call.caller.request_key(key), asked.amount_minor, asked.currency)
        };
        let is_same = |record: &PaymentRecord| record.of_order.is_none() && record.request == payment.request;
        let ids = identity::transaction_ids(&payment.request);
        let created = self.create_payment(ids, &payment, is_same).await?;
        self.recorded(call, created, &payment.fingerprint).await
    }

    /// Returns a new payment, without what it is for.
    fn pending(&self, request: RequestKey, amount_minor: i64, currency: Currency) -> PaymentRecord {
        let now = self.clock.now_us();
        PaymentRecord {
            payment_id: 0,
            request,
            fingerprint: String::new(),
            of_order: None,
            sender: String::new(),
            receiver: String::new(),
            payment_method: None,
            card_last_four: None,
            amount_minor,
            currency,
            created_at: now,
            state: PaymentState::Pending,
            state_at: now,
            processing_at: None,
            revision: 0,
            due_at: Some(now.saturating_add(micros(self.policy.accept_deadline))),
            error_message: None,
        }
    }

    /// Creates a payment under the first of these ids that no other payment has.
    async fn create_payment(
        &self,
        ids: impl Iterator<Item = i64>,
        payment: &PaymentRecord,
        is_same: impl Fn(&PaymentRecord) -> bool,
    ) -> Result<Created<PaymentRecord>, Problem> {
        for payment_id in ids {
            let payment = PaymentRecord { payment_id, ..payment.clone() };
            let created = self.backends.payments.create_payment(&payment).await?;
            if is_same(&created.record) {
                return Ok(created);
            }
        }
        Err(Problem::new(ProblemCode::Internal))
    }

    /// Asks the payment processor to process a payment, unless it has begun already.
    async fn recorded(
        &self,
        call: &CallContext,
        created: Created<PaymentRecord>,
        fingerprint: &str,
    ) -> Result<Accepted<PaymentRecord>, Problem> {
        let Created { record, is_new } = created;
        same_request(&record.fingerprint, fingerprint)?;
        if record.state == PaymentState::Pending {
            let order = record.of_order.map(|(order_id, _)| ProcessingRequest::OrderId(order_id.0));
            self.ask(order.unwrap_or(ProcessingRequest::PaymentId(record.payment_id)), call).await?;
        }
        Ok(Accepted { record, is_replayed: !is_new })
    }

    /// Returns the order that a client names by id, number or idempotency key, if the client may see it.
    pub(crate) async fn find_order(
        &self,
        caller: &Caller,
        name: &str,
        guarantee: ReadGuarantee,
    ) -> Result<OrderRecord, Problem> {
        let is_visible = |order: &OrderRecord| caller.may_see(order.customer_id);
        let id = name.parse().ok().filter(|id| *id >= FIRST).or_else(|| order_number::parse(name));
        if let Some(id) = id
            && let Some(order) = self.backends.orders.order(OrderId(id), guarantee).await?.filter(is_visible)
        {
            return Ok(order);
        }
        let order = self.order_of_key(caller, name, guarantee).await?.filter(is_visible);
        order.ok_or_else(|| Problem::new(ProblemCode::NotFound))
    }

    /// Returns the order that the caller created with this idempotency key.
    async fn order_of_key(
        &self,
        caller: &Caller,
        key: &str,
        guarantee: ReadGuarantee,
    ) -> Result<Option<OrderRecord>, Problem> {
        let request = caller.request_key(key);
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
