//! Waiting for a condition with a deadline. Nothing here sleeps.

use std::fmt::Debug;
use std::time::Duration;

use crate::{Delivery, Subscription};

/// Returns the output of the future.
///
/// # Panics
/// If the future takes longer than `limit`; the message names `what` was expected.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("expected within {limit:?}: {what}"),
    }
}

/// Returns the next delivery.
///
/// # Panics
/// If none arrives within `limit`, or if the subscription is stopped.
pub async fn next_within(limit: Duration, subscription: &Subscription) -> Delivery {
    within(limit, "a delivery", subscription.next()).await.expect("the subscription is not stopped")
}

/// Waits until the window is over.
///
/// # Panics
/// If the future ends before that; `reason` says why it must not.
pub async fn never_within<T: Debug>(window: Duration, reason: &str, future: impl Future<Output = T>) {
    if let Ok(value) = tokio::time::timeout(window, future).await {
        panic!("{reason}, but within {window:?}: {value:?}");
    }
}
