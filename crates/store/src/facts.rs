//! The fact table.

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::StoreError;
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{Fact, PaymentSlot};
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;

/// The fact table: two last-writer-wins registers a row, merged by T.
///
/// Every write is idempotent; after `Ok` it is durable. After `Unavailable` it may or may not have
/// been applied, or may be applied later: call again with the same arguments.
#[async_trait]
pub trait FactStore: Send + Sync {
    /// Writes the order columns at T; never a payment column.
    async fn record_order(&self, order: &Order<'_>, t: EventTime) -> Result<(), StoreError>;

    /// Reads what a payment of this order would be written over.
    async fn payment_slot(&self, order_id: OrderId) -> Result<PaymentSlot, StoreError>;

    /// Writes all payment columns at T, absent ones as null. Creates a row where there is none:
    /// look first.
    async fn record_payment(&self, payment: &Payment<'_>, t: EventTime) -> Result<(), StoreError>;

    /// Reads one row with its write times.
    async fn fact(&self, order_id: OrderId) -> Result<Option<Fact>, StoreError>;

    /// Reads every row, in no order, a page at a time.
    fn facts(&self) -> BoxStream<'_, Result<Fact, StoreError>>;

    /// What people call it: kind and host, or kind and absolute path.
    fn describe(&self) -> String;
}
