//! The operations store on simulated cells: rows merged by revision, batches kept once they have outcomes.

use async_trait::async_trait;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, PlanBatch};
use ecom_domain::heartbeat::Heartbeat;
use ecom_store::{OperationsStore, StoreError};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::{SimulatedStore, Write};

#[async_trait]
impl OperationsStore for SimulatedStore {
    async fn record_heartbeat(&self, _: &Heartbeat) -> Result<(), StoreError> {
        Ok(())
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, StoreError> {
        Ok(Vec::new())
    }

    async fn put_operation(&self, operation: &BulkOperation) -> Result<(), StoreError> {
        let operation = operation.clone();
        let write: Write = Box::new(move |cells| {
            let current = cells.operations.get(&operation.id);
            if current.is_none_or(|current| current.revision <= operation.revision) {
                cells.operations.insert(operation.id.clone(), operation);
            }
        });
        self.write("write a bulk operation", write).await
    }

    async fn operation(&self, id: &OperationId) -> Result<Option<BulkOperation>, StoreError> {
        self.read("read a bulk operation", |cells| cells.operations.get(id).cloned()).await
    }

    fn operations(&self) -> BoxStream<'_, Result<BulkOperation, StoreError>> {
        let operations: Vec<_> = self.state().cells.operations.values().rev().cloned().map(Ok).collect();
        stream::iter(operations).boxed()
    }

    async fn put_batch(&self, operation: &OperationId, batch: &PlanBatch) -> Result<(), StoreError> {
        let (key, batch) = ((operation.clone(), batch.number), batch.clone());
        let write: Write = Box::new(move |cells| {
            let is_done = cells.batches.get(&key).is_some_and(|current| current.outcomes.is_some());
            if !is_done || batch.outcomes.is_some() {
                cells.batches.insert(key, batch);
            }
        });
        self.write("write a batch of a plan", write).await
    }

    async fn batch(&self, operation: &OperationId, number: u32) -> Result<Option<PlanBatch>, StoreError> {
        let key = (operation.clone(), number);
        self.read("read a batch of a plan", |cells| cells.batches.get(&key).cloned()).await
    }
}
