//! One payment of an order at a time, within a process.

use tokio::sync::{Mutex, MutexGuard};

use ecom_domain::order::OrderId;

/// Stripes: with 256 workers two different orders meet on one about every fourth time, harmlessly.
const STRIPES: usize = 1_024;

/// An order's turn: nobody else in the process has one until it is dropped.
pub type OrderGuard<'l> = MutexGuard<'l, ()>;

/// Striped locks by order id, held around SELECT and UPDATE.
pub struct OrderLocks(Vec<Mutex<()>>);

impl OrderLocks {
    /// All free.
    pub fn new() -> Self {
        Self((0..STRIPES).map(|_| Mutex::new(())).collect())
    }

    /// Waits for the order's turn.
    pub async fn lock(&self, order: OrderId) -> OrderGuard<'_> {
        let stripe = usize::try_from(order.0.unsigned_abs() % STRIPES as u64).unwrap_or_default();
        self.0[stripe].lock().await
    }
}

impl Default for OrderLocks {
    fn default() -> Self {
        Self::new()
    }
}
