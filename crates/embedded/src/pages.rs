//! Scans of the file, page by page: no read transaction stays open between two pages.

use std::collections::VecDeque;

use futures_util::stream::{self, BoxStream, StreamExt};
use rusqlite::Connection;

use super::embedded::Embedded;
use ecom_store::StoreError;

impl Embedded {
    /// Streams rows in the order of a key. `read` returns the page behind a key, and an empty one at the end;
    /// each page is a read of its own. `what` is the scan, as a verb phrase for errors; the stream ends after
    /// an error.
    pub fn pages<T: Send + 'static, K: Clone + Send + Sync + 'static>(
        &self,
        what: &'static str,
        start: K,
        read: impl Fn(&Connection, &K) -> rusqlite::Result<VecDeque<T>> + Clone + Send + 'static,
        key: fn(&T) -> K,
    ) -> BoxStream<'_, Result<T, StoreError>> {
        stream::try_unfold((VecDeque::new(), start), move |(mut page, mut behind)| {
            let read = read.clone();
            async move {
                if page.is_empty() {
                    let from = behind.clone();
                    page = self.read(what, move |connection| read(connection, &from)).await?;
                    if let Some(last) = page.back() {
                        behind = key(last);
                    }
                }
                Ok(page.pop_front().map(|row| (row, (page, behind))))
            }
        })
        .boxed()
    }
}
