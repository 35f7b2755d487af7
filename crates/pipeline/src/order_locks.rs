//! Locks by order: payments of one order are serialised within a process.

use tokio::sync::{Mutex, MutexGuard};

use ecom_domain::order::OrderId;

/// The number of stripes. Of two orders on one stripe one waits for the other, harmlessly.
const STRIPES: usize = 8_192;

/// The lock of an order, until dropped.
pub type OrderGuard<'l> = MutexGuard<'l, ()>;

/// Striped locks by order id, taken around SELECT and UPDATE.
pub struct OrderLocks(Vec<Mutex<()>>);

impl OrderLocks {
    /// Unlocked stripes.
    pub fn new() -> Self {
        Self((0..STRIPES).map(|_| Mutex::new(())).collect())
    }

    /// Locks an order.
    pub async fn lock(&self, order: OrderId) -> OrderGuard<'_> {
        self.stripe(order).lock().await
    }

    /// Locks an order that is not locked.
    pub fn try_lock(&self, order: OrderId) -> Option<OrderGuard<'_>> {
        self.stripe(order).try_lock().ok()
    }

    fn stripe(&self, order: OrderId) -> &Mutex<()> {
        let stripe = usize::try_from(order.0.unsigned_abs() % STRIPES as u64).unwrap_or_default();
        &self.0[stripe]
    }
}

impl Default for OrderLocks {
    fn default() -> Self {
        Self::new()
    }
}
