//! The port of carts.

use async_trait::async_trait;

use ecom_store::StoreError;

/// A line of a cart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CartLine {
    /// The product.
    pub sku: String,
    /// The units; positive.
    pub quantity: i64,
    /// When it was written, in microseconds since the epoch.
    pub written_at: i64,
}

/// The carts of customers. Each line is a last-writer-wins register: of two writes the one with the larger time stands, in
/// whatever order they arrive; of a write and a removal at the same time the removal.
#[async_trait]
pub trait CartStore: Send + Sync {
    /// Writes the quantity of a line at a time in microseconds since the epoch.
    async fn put_line(
        &self,
        customer_id: i64,
        sku: &str,
        quantity: i64,
        written_at: i64,
    ) -> Result<(), StoreError>;

    /// Removes a line that was written no later than this time. What was written since stays.
    async fn remove_line(&self, customer_id: i64, sku: &str, written_at: i64) -> Result<(), StoreError>;

    /// Reads a cart, by product.
    async fn cart(&self, customer_id: i64) -> Result<Vec<CartLine>, StoreError>;
}
