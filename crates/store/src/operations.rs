//! The operations store port.

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::StoreError;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, PlanBatch};
use ecom_domain::heartbeat::Heartbeat;

/// The operations store: heartbeats of the roles and bulk operations. Every write is idempotent and durable
/// after `Ok`.
#[async_trait]
pub trait OperationsStore: Send + Sync {
    /// Replaces the heartbeat of a role on a host; its watermark never falls. A heartbeat expires 30 days
    /// after it was written.
    async fn record_heartbeat(&self, heartbeat: &Heartbeat) -> Result<(), StoreError>;

    /// Reads the last heartbeat of every role and host, sorted by both. Times are exact to the millisecond.
    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, StoreError>;

    /// Writes a bulk operation; of two writes the one with the larger revision wins.
    async fn put_operation(&self, operation: &BulkOperation) -> Result<(), StoreError>;

    /// Reads a bulk operation; `None` where there is none with this id.
    async fn operation(&self, id: &OperationId) -> Result<Option<BulkOperation>, StoreError>;

    /// Streams bulk operations page by page, newest first.
    fn operations(&self) -> BoxStream<'_, Result<BulkOperation, StoreError>>;

    /// Writes a batch of a bulk operation's plan; a batch with outcomes wins over one without.
    async fn put_batch(&self, operation: &OperationId, batch: &PlanBatch) -> Result<(), StoreError>;

    /// Reads a batch of a bulk operation's plan; `None` where it was not written.
    async fn batch(&self, operation: &OperationId, number: u32) -> Result<Option<PlanBatch>, StoreError>;
}
