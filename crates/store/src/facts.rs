//! The fact store port.

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::StoreError;
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{Fact, PaymentSlot};
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;

/// The fact table: per row an order and a payment column group, each last-write-wins by event time.
///
/// Every write is idempotent and durable after `Ok`. After [`StoreError::Unavailable`] it may or may not have
/// been applied, or may be applied later: repeat it with the same arguments.
#[async_trait]
pub trait FactStore: Send + Sync {
    /// Writes the order columns at `t`; never a payment column.
    async fn record_order(&self, order: &Order<'_>, t: EventTime) -> Result<(), StoreError>;

    /// Reads the payment columns of an order.
    async fn payment_slot(&self, order_id: OrderId) -> Result<PaymentSlot, StoreError>;

    /// Writes all payment columns at `t`, absent ones as null. Creates a row where there is none: read
    /// [`payment_slot`](Self::payment_slot) first.
    async fn record_payment(&self, payment: &Payment<'_>, t: EventTime) -> Result<(), StoreError>;

    /// Reads a row with its write timestamps; `None` where there is no row.
    async fn fact(&self, order_id: OrderId) -> Result<Option<Fact>, StoreError>;

    /// Streams every row page by page, in no order.
    fn facts(&self) -> BoxStream<'_, Result<Fact, StoreError>>;

    /// Returns the name of the store for people: its kind with hosts, or with an absolute path.
    fn describe(&self) -> String;
}
