//! Taking an order through its states.

use super::mutant::{Mutant, is_active};
use super::processor::PaymentProcessor;
use ecom_domain::order::OrderId;
use ecom_pipeline::durable::{Durable, RoleError};
use ecom_shop_domain::identity::payment_ids;
use ecom_shop_domain::inventory::{Shortage, StockNeed, StockOutcome};
use ecom_shop_domain::order::{Evidence, NextMove, OrderRecord, OrderState};
use ecom_shop_domain::payment::{PaymentRecord, PaymentState};
use ecom_shop_domain::request::ProcessingRequest;
use ecom_shop_store::ReadGuarantee;

/// The error of a payment of an order that is not going to be placed.
const NOT_PAYABLE: &str = "the order was cancelled";

/// The units of an order.
enum Units {
    /// They are reserved, sold or released, as the state of the order entails.
    AsNeeded,
    /// Some cannot be reserved.
    Short(Shortage),
    /// They were released, because the order has ended.
    OrderHasEnded,
}

impl PaymentProcessor {
    /// Takes an order on until it waits, and returns the proof that everything its states entail is durable; `None` if there
    /// is no such order.
    ///
    /// Before a state is left, everything it entails is durable: its event, its units of the inventory, the outcome of its
    /// payment, and the request to confirm it. So whoever finds a record, after a crash or beside another processor, does
    /// what the state that stands entails and goes on from there; nothing earlier is owed.
    pub async fn process_order(
        &self,
        order_id: OrderId,
        is_cancellation_asked: bool,
    ) -> Result<Option<Durable>, RoleError> {
        let read = || self.orders.order(order_id, ReadGuarantee::Linearizable);
        let (Some(mut order), mut durable) = self.retrier.evidence(read).await? else { return Ok(None) };
        loop {
            let shortage = match self.move_units(&order).await? {
                Units::AsNeeded => None,
                Units::Short(shortage) => Some(shortage),
                Units::OrderHasEnded => {
                    // Another processor has ended it since the record was read.
                    let (Some(stands), proof) = self.retrier.evidence(read).await? else { return Ok(None) };
                    (order, durable) = (stands, proof);
                    continue;
                }
            };
            if is_active(Mutant::ReleaseBeforeRefused) && shortage.is_some() {
                self.end_reservations(&order, StockNeed::Release).await?;
            }
            if let Some(published) = self.events.publish_order(&order).await? {
                durable = published;
            }
            if let Some(published) = self.events.publish_notice(&order).await? {
                durable = published;
            }
            let payment = self.payment_of(&order).await?;
            let evidence =
                Evidence { payment: payment.as_ref(), is_cancellation_asked, shortage: shortage.as_ref() };
            match order.next(evidence, &self.policy, self.clock.now_us()) {
                NextMove::Wait(due_at) => {
                    if let Some(due_at) = due_at {
                        self.due.add(due_at, ProcessingRequest::OrderId(order_id.0));
                    }
                    return Ok(Some(durable));
                }
                NextMove::To(mut next) => {
                    let stands = self.retrier.evidence(|| self.orders.move_order(&next)).await?;
                    let (Some(mut stands), proof) = stands else { return Ok(None) };
                    while is_active(Mutant::MoveWithoutRevision) && stands.state != next.state {
                        next.revision = stands.revision + 1;
                        let forced = self.retrier.read(|| self.orders.move_order(&next)).await?;
                        stands = forced.unwrap_or(stands);
                    }
                    (order, durable) = (stands, proof);
                }
            }
        }
    }

    /// Reserves, sells or releases the units of an order, as its state entails, and removes the lines of its customer's cart
    /// that a placed order was made of.
    async fn move_units(&self, order: &OrderRecord) -> Result<Units, RoleError> {
        match order.state {
            OrderState::Accepted if order.due_at.is_some_and(|due_at| self.clock.now_us() >= due_at) => {
                // It is going to be refused.
            }
            OrderState::Accepted => {
                for (sku, wanted) in order.needs() {
                    let need = StockNeed::Reserve(wanted);
                    match self.stock.meet(sku, order.order_id, need).await? {
                        Some(StockOutcome::Short { available }) => {
                            return Ok(Units::Short(Shortage { sku: sku.to_owned(), wanted, available }));
                        }
                        None => {
                            return Ok(Units::Short(Shortage { sku: sku.to_owned(), wanted, available: 0 }));
                        }
                        Some(StockOutcome::Released) => return Ok(Units::OrderHasEnded),
                        Some(StockOutcome::Done | StockOutcome::Sold | StockOutcome::NotReserved) => {}
                    }
                }
            }
            OrderState::Placed | OrderState::Paying => self.remove_from_cart(order).await?,
            OrderState::Paid => self.end_reservations(order, StockNeed::Sell).await?,
            OrderState::Refused | OrderState::Cancelled => {
                self.end_reservations(order, StockNeed::Release).await?;
            }
            OrderState::Completed => {}
        }
        Ok(Units::AsNeeded)
    }

    async fn end_reservations(&self, order: &OrderRecord, need: StockNeed) -> Result<(), RoleError> {
        for sku in order.needs().into_keys() {
            let outcome = self.stock.meet(sku, order.order_id, need).await?;
            // A product that was never there has nothing to release.
            if !matches!((outcome, need), (Some(StockOutcome::Done), _) | (None, StockNeed::Release)) {
                let (state, id) = (order.state.as_str(), order.order_id);
                tracing::error!("order {id} is {state}, and its units of {sku} are {outcome:?}");
            }
        }
        Ok(())
    }

    async fn remove_from_cart(&self, order: &OrderRecord) -> Result<(), RoleError> {
        for line in &order.document.lines {
            if let (Some(sku), Some(written_at)) = (&line.sku, line.in_cart_since) {
                let remove = || self.carts.remove_line(order.customer_id, sku, written_at);
                self.retrier.write(remove).await?;
            }
        }
        Ok(())
    }

    /// Returns the payment that the next move of the order depends on: of an order that may be paid, the next one, if there
    /// is one; of one that is being paid, its outcome, for which this waits.
    async fn payment_of(&self, order: &OrderRecord) -> Result<Option<PaymentRecord>, RoleError> {
        match order.state {
            OrderState::Placed => self.find_payment(order.order_id, order.attempt + 1).await,
            OrderState::Paying => {
                let payment = self.open_payment(order).await?;
                self.finish_payment(payment, None).await.map(Some)
            }
            OrderState::Refused | OrderState::Cancelled => {
                // One that was recorded at the moment in which the order ended. No money moves.
                match self.find_payment(order.order_id, order.attempt + 1).await? {
                    Some(payment) if payment.state == PaymentState::Pending => {
                        self.finish_payment(payment, Some(NOT_PAYABLE)).await.map(Some)
                    }
                    payment => Ok(payment),
                }
            }
            OrderState::Accepted | OrderState::Paid | OrderState::Completed => Ok(None),
        }
    }

    async fn find_payment(
        &self,
        order_id: OrderId,
        attempt: i64,
    ) -> Result<Option<PaymentRecord>, RoleError> {
        for payment_id in payment_ids(order_id, attempt) {
            let read = || self.payments.payment(payment_id, ReadGuarantee::Linearizable);
            match self.retrier.read(read).await? {
                Some(payment) if payment.is_of(order_id, attempt) => return Ok(Some(payment)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Returns the payment of a paying order; opens it if nobody has.
    async fn open_payment(&self, order: &OrderRecord) -> Result<PaymentRecord, RoleError> {
        if order.document.payment_method.is_none()
            && let Some(payment) = self.find_payment(order.order_id, order.attempt).await?
        {
            // The one that the customer asked for.
            return Ok(payment);
        }
        let mut n = 0;
        loop {
            let payment = PaymentRecord::opened_by_processor(order, n);
            let created = self.retrier.read(|| self.payments.create_payment(&payment)).await?;
            if created.record.is_of(order.order_id, order.attempt) {
                return Ok(created.record);
            }
            // Another payment has this id.
            n += 1;
        }
    }
}
