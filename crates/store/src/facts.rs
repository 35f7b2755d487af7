//! The fact store port.

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::StoreError;
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{Fact, PaymentSlot, SupersededPayment};
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;

/// A range of rows, by the number that the store sorts them by: tokens on Cassandra, order ids in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FactRange {
    /// The number before the first of the range.
    pub after: i64,
    /// The last number of the range.
    pub through: i64,
}

impl FactRange {
    /// Returns the ranges that end at these numbers, which ascend, and the one after the last.
    pub fn ending_at(ends: impl IntoIterator<Item = i64>) -> Vec<Self> {
        let mut after = i64::MIN;
        let mut ranges = Vec::new();
        for through in ends.into_iter().chain([i64::MAX]) {
            if through > after {
                ranges.push(Self { after, through });
                after = through;
            }
        }
        ranges
    }
}

/// The fact table: per row an order and a payment column group, each last-write-wins by event time.
///
/// Every write is idempotent and durable after `Ok`. After [`StoreError::Unavailable`] it may or may not have
/// been applied, or may be applied later: repeat it with the same arguments.
#[async_trait]
pub trait FactStore: Send + Sync {
    /// Writes the order columns of each order at its event time; never a payment column. After an error each of
    /// them may or may not have been written.
    async fn record_orders(&self, orders: &[(&Order<'_>, EventTime)]) -> Result<(), StoreError>;

    /// Reads the payment columns of each order, in the order of the ids.
    async fn payment_slots(&self, order_ids: &[OrderId]) -> Result<Vec<PaymentSlot>, StoreError>;

    /// Writes all payment columns of each payment at its event time, absent ones as null. Creates a row where there
    /// is none: read the [payment slot](Self::payment_slots) first. Of two payments of an order that were written, a
    /// store that can do so at no cost, or was told to, keeps the older one as [superseded](Self::superseded), in
    /// whatever order they were written, and although neither writer saw the other's. After an error each of them may
    /// or may not have been written.
    async fn record_payments(&self, payments: &[(&Payment<'_>, EventTime)]) -> Result<(), StoreError>;

    /// Returns the number of orders or payments in one call from which a larger one gains nothing.
    fn group_size(&self) -> usize {
        1
    }

    /// Writes the order columns of one order.
    async fn record_order(&self, order: &Order<'_>, t: EventTime) -> Result<(), StoreError> {
        self.record_orders(&[(order, t)]).await
    }

    /// Reads the payment columns of one order.
    async fn payment_slot(&self, order_id: OrderId) -> Result<PaymentSlot, StoreError> {
        let slots = self.payment_slots(&[order_id]).await?;
        Ok(slots.into_iter().next().unwrap_or(PaymentSlot::NoOrder))
    }

    /// Writes all payment columns of one payment.
    async fn record_payment(&self, payment: &Payment<'_>, t: EventTime) -> Result<(), StoreError> {
        self.record_payments(&[(payment, t)]).await
    }

    /// Reads a row with its write timestamps; `None` where there is no row.
    async fn fact(&self, order_id: OrderId) -> Result<Option<Fact>, StoreError>;

    /// Streams every row page by page, in no order.
    fn facts(&self) -> BoxStream<'_, Result<Fact, StoreError>>;

    /// Splits the table into at most this many ranges, which together hold every row, also rows that are recorded
    /// later, and no row twice.
    async fn fact_ranges(&self, at_most: u32) -> Result<Vec<FactRange>, StoreError>;

    /// Streams the rows of a range page by page, in no order.
    fn facts_in(&self, range: FactRange) -> BoxStream<'_, Result<Fact, StoreError>>;

    /// Records a payment that was never written, because its order had a newer one, or that was written before
    /// superseded payments were kept. Writing it again changes nothing.
    async fn record_superseded(&self, superseded: &SupersededPayment) -> Result<(), StoreError>;

    /// Reads the superseded payments of an order, newest first.
    async fn superseded_of(&self, order_id: OrderId) -> Result<Vec<SupersededPayment>, StoreError>;

    /// Streams the superseded payments of all orders page by page: those of one order together and newest first,
    /// the orders in no order.
    fn superseded(&self) -> BoxStream<'_, Result<SupersededPayment, StoreError>>;

    /// Returns the name of the store for people: its kind with hosts, or with an absolute path.
    fn describe(&self) -> String;
}
