//! The operations store: signs of life of the roles, and the operator's runs.

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::StoreError;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, PlanBatch};
use ecom_domain::heartbeat::Heartbeat;

/// Heartbeats and runs. Every write is idempotent, and durable after `Ok`.
#[async_trait]
pub trait OperationsStore: Send + Sync {
    /// Writes a role's sign of life over its last one on that host; how far it had come only rises.
    /// A host is forgotten 30 days after its last one.
    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), StoreError>;

    /// Reads the last sign of life of every role and host, sorted by both; times to the millisecond.
    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, StoreError>;

    /// Writes a run as it stands; of two writes the one with the larger revision stays.
    async fn put_run(&self, run: &BulkOperation) -> Result<(), StoreError>;

    /// Reads one run.
    async fn run(&self, id: &OperationId) -> Result<Option<BulkOperation>, StoreError>;

    /// Reads runs, newest first, a page at a time.
    fn runs(&self) -> BoxStream<'_, Result<BulkOperation, StoreError>>;

    /// Writes a part of a run's plan; a batch with outcomes stays over one without.
    async fn put_batch(&self, run: &OperationId, batch: &PlanBatch) -> Result<(), StoreError>;

    /// Reads a part of a run's plan.
    async fn batch(&self, run: &OperationId, number: u32) -> Result<Option<PlanBatch>, StoreError>;
}
