//! Waiting for a condition, with a deadline; nothing here sleeps.

use std::time::Duration;

#[cfg(any(feature = "embedded", feature = "pubsub"))]
use ecom_bus::{Delivery, Subscription};

/// What the future comes to; fails the test where that takes longer than `limit`.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {limit:?} in vain: {what}"),
    }
}

#[cfg(any(feature = "embedded", feature = "pubsub"))]
/// The next delivery; fails the test where none comes within `limit`.
pub async fn next_within(limit: Duration, subscription: &Subscription) -> Delivery {
    within(limit, "no delivery came", subscription.next()).await.expect("the subscription is not stopped")
}

#[cfg(any(feature = "embedded", feature = "pubsub"))]
/// Fails the test where the future comes to anything before the window is over.
pub async fn never_within<T: std::fmt::Debug>(window: Duration, what: &str, future: impl Future<Output = T>) {
    if let Ok(value) = tokio::time::timeout(window, future).await {
        panic!("{what}, but within {window:?}: {value:?}");
    }
}
