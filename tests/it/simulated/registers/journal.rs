//! The journal on simulated cells: rows merged by revision, parts that stay once they have outcomes.

use async_trait::async_trait;
use ecom_domain::heartbeat::Heartbeat;
use ecom_domain::run::{Batch, Run, RunId};
use ecom_store::{Journal, StoreError};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::{Registers, Write};

#[async_trait]
impl Journal for Registers {
    async fn beat(&self, _: &Heartbeat) -> Result<(), StoreError> {
        Ok(())
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, StoreError> {
        Ok(Vec::new())
    }

    async fn put_run(&self, run: &Run) -> Result<(), StoreError> {
        let run = run.clone();
        let write: Write = Box::new(move |cells| {
            let newer = cells.runs.get(&run.id).is_none_or(|held| held.revision <= run.revision);
            if newer {
                cells.runs.insert(run.id.clone(), run);
            }
        });
        self.write("write a run", write).await
    }

    async fn run(&self, id: &RunId) -> Result<Option<Run>, StoreError> {
        self.read("read a run", |cells| cells.runs.get(id).cloned()).await
    }

    fn runs(&self) -> BoxStream<'_, Result<Run, StoreError>> {
        let runs: Vec<_> = self.state().cells.runs.values().rev().cloned().map(Ok).collect();
        stream::iter(runs).boxed()
    }

    async fn put_batch(&self, run: &RunId, batch: &Batch) -> Result<(), StoreError> {
        let (key, batch) = ((run.clone(), batch.number), batch.clone());
        let write: Write = Box::new(move |cells| {
            let stays = cells.batches.get(&key).is_some_and(|held| held.outcomes.is_some());
            if !stays || batch.outcomes.is_some() {
                cells.batches.insert(key, batch);
            }
        });
        self.write("write a part of a plan", write).await
    }

    async fn batch(&self, run: &RunId, number: u32) -> Result<Option<Batch>, StoreError> {
        let key = (run.clone(), number);
        self.read("read a part of a plan", |cells| cells.batches.get(&key).cloned()).await
    }
}
