//! The audit: who changed dead letters, when, which and why.

use futures_util::{StreamExt, TryStreamExt};

use super::DeadLetterQueue;
use ecom_domain::bulk_operation::BulkOperation;
use ecom_store::StoreError;

impl DeadLetterQueue {
    /// The latest runs, newest first.
    pub async fn runs(&self, limit: usize) -> Result<Vec<BulkOperation>, StoreError> {
        self.operations.runs().take(limit).try_collect().await
    }
}
