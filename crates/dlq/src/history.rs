//! The audit: who changed letters, when, which and why.

use futures_util::{StreamExt, TryStreamExt};

use super::Desk;
use ecom_domain::run::Run;
use ecom_store::StoreError;

impl Desk {
    /// The latest runs, newest first.
    pub async fn runs(&self, limit: usize) -> Result<Vec<Run>, StoreError> {
        self.journal.runs().take(limit).try_collect().await
    }
}
