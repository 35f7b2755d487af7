//! The operations store on simulated cells: rows merged by revision, parts that stay once they have outcomes.

use async_trait::async_trait;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, PlanBatch};
use ecom_domain::heartbeat::Heartbeat;
use ecom_store::{OperationsStore, StoreError};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::{Registers, Write};

#[async_trait]
impl OperationsStore for Registers {
    async fn beat(&self, _: &Heartbeat) -> Result<(), StoreError> {
        Ok(())
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, StoreError> {
        Ok(Vec::new())
    }

    async fn put_run(&self, run: &BulkOperation) -> Result<(), StoreError> {
        let run = run.clone();
        let write: Write = Box::new(move |cells| {
            let newer = cells.runs.get(&run.id).is_none_or(|buffered| buffered.revision <= run.revision);
            if newer {
                cells.runs.insert(run.id.clone(), run);
            }
        });
        self.write("write a run", write).await
    }

    async fn run(&self, id: &OperationId) -> Result<Option<BulkOperation>, StoreError> {
        self.read("read a run", |cells| cells.runs.get(id).cloned()).await
    }

    fn runs(&self) -> BoxStream<'_, Result<BulkOperation, StoreError>> {
        let runs: Vec<_> = self.state().cells.runs.values().rev().cloned().map(Ok).collect();
        stream::iter(runs).boxed()
    }

    async fn put_batch(&self, run: &OperationId, batch: &PlanBatch) -> Result<(), StoreError> {
        let (key, batch) = ((run.clone(), batch.number), batch.clone());
        let write: Write = Box::new(move |cells| {
            let stays = cells.batches.get(&key).is_some_and(|buffered| buffered.outcomes.is_some());
            if !stays || batch.outcomes.is_some() {
                cells.batches.insert(key, batch);
            }
        });
        self.write("write a part of a plan", write).await
    }

    async fn batch(&self, run: &OperationId, number: u32) -> Result<Option<PlanBatch>, StoreError> {
        let key = (run.clone(), number);
        self.read("read a part of a plan", |cells| cells.batches.get(&key).cloned()).await
    }
}
