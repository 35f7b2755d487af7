//! The port of order records.

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::{Created, Cursor, Page, ReadGuarantee};
use ecom_domain::order::OrderId;
use ecom_shop_domain::notice::Notice;
use ecom_shop_domain::order::OrderRecord;
use ecom_store::StoreError;

/// Records of orders.
///
/// After [`StoreError::Unavailable`] a write may or may not have been applied, or may be applied later: repeat it with the
/// same arguments, or read with [`ReadGuarantee::Linearizable`] and go on from what stands.
#[async_trait]
pub trait OrderStore: Send + Sync {
    /// Creates an order, unless a record with its id exists; returns the record that stands.
    async fn create_order(&self, order: &OrderRecord) -> Result<Created<OrderRecord>, StoreError>;

    /// Writes state, times, revision, attempt and detail of an order, if the stored revision is the one before
    /// `next.revision`; returns the record that stands, and `None` if there is none. Its notice is not written, and that of
    /// the record that is returned may be an earlier one.
    async fn move_order(&self, next: &OrderRecord) -> Result<Option<OrderRecord>, StoreError>;

    /// Writes the notice of an order, and nothing else, if `before` is the one that stands, `None` for none. Returns the
    /// notice that stands afterwards: `None` if none does, or if there is no such order.
    async fn set_notice(
        &self,
        order_id: OrderId,
        before: Option<&Notice>,
        notice: &Notice,
    ) -> Result<Option<Notice>, StoreError>;

    /// Reads an order; `None` if there is none.
    async fn order(
        &self,
        order_id: OrderId,
        guarantee: ReadGuarantee,
    ) -> Result<Option<OrderRecord>, StoreError>;

    /// Reads at most `limit` orders behind a place of the store's own order, `None` for the first page. An order that was
    /// created before the first page was read is on exactly one page.
    async fn orders_after(
        &self,
        place: Option<i64>,
        limit: usize,
    ) -> Result<Page<OrderRecord, i64>, StoreError>;

    /// Reads at most `limit` orders of a customer, newest first by creation, those before a place.
    async fn orders_of_customer(
        &self,
        customer_id: i64,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<OrderRecord, Cursor>, StoreError>;

    /// Streams the orders that were due after `after` and no later than `through`, both in microseconds since the epoch. An
    /// order may be among them that is no longer due, or twice.
    fn due_orders(&self, after: i64, through: i64) -> BoxStream<'_, Result<OrderId, StoreError>>;

    /// Streams every order page by page, in no order.
    fn orders(&self) -> BoxStream<'_, Result<OrderRecord, StoreError>>;
}
