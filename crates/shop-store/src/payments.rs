//! The port of payment records.

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::{Created, Cursor, Page, ReadGuarantee};
use ecom_shop_domain::payment::{PaymentRecord, PaymentState};
use ecom_store::StoreError;

/// Records of payments, of orders and of transactions without an order.
///
/// After [`StoreError::Unavailable`] a write may or may not have been applied, or may be applied later: repeat it with the
/// same arguments, or read with [`ReadGuarantee::Linearizable`] and go on from what stands.
#[async_trait]
pub trait PaymentStore: Send + Sync {
    /// Creates a payment, unless a record with its id exists; returns the record that stands.
    async fn create_payment(&self, payment: &PaymentRecord) -> Result<Created<PaymentRecord>, StoreError>;

    /// Writes state, times, revision and error of a payment, if the stored revision is the one before `next.revision`;
    /// returns the record that stands, and `None` if there is none.
    async fn move_payment(&self, next: &PaymentRecord) -> Result<Option<PaymentRecord>, StoreError>;

    /// Reads a payment; `None` if there is none.
    async fn payment(
        &self,
        payment_id: i64,
        guarantee: ReadGuarantee,
    ) -> Result<Option<PaymentRecord>, StoreError>;

    /// Reads at most `limit` payments, newest first by creation, those before a place: of every state or of one. A page may
    /// be short, or even empty, and still not be the last: the last one has no `next`.
    async fn payments_before(
        &self,
        state: Option<PaymentState>,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<PaymentRecord, Cursor>, StoreError>;

    /// Streams the payments that were due after `after` and no later than `through`, both in
    /// microseconds since the epoch. A payment may be among them that is no longer due, or twice.
    fn due_payments(&self, after: i64, through: i64) -> BoxStream<'_, Result<i64, StoreError>>;

    /// Streams every payment page by page, in no order.
    fn payments(&self) -> BoxStream<'_, Result<PaymentRecord, StoreError>>;
}
