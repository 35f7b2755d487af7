//! Waiting for a condition, with a deadline; nothing here sleeps.

use std::time::Duration;

/// What the future comes to; fails the test where that takes longer than `limit`.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {limit:?} in vain: {what}"),
    }
}
