//! The port of the inventory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::{Page, ReadGuarantee};
use ecom_domain::order::OrderId;
use ecom_shop_domain::inventory::{Product, Reservation, Stock, StockChange};
use ecom_store::StoreError;

/// Products, their stock, and the reservations of orders.
///
/// Every write is conditional on the version of the stock. After [`StoreError::Unavailable`] it may or may not have been
/// applied, or may be applied later: read the stock with its reservations again, and decide anew.
#[async_trait]
pub trait InventoryStore: Send + Sync {
    /// Reads a product; `None` if there is none.
    async fn product(&self, sku: &str, guarantee: ReadGuarantee) -> Result<Option<Product>, StoreError>;

    /// Reads the stock of a product, linearizably, and the reservations that these orders have of it at that version or a
    /// later one; `None` if there is no such product.
    async fn stock(
        &self,
        sku: &str,
        orders: &[OrderId],
    ) -> Result<Option<(Stock, BTreeMap<OrderId, Reservation>)>, StoreError>;

    /// Writes a change of the stock with its reservations, all or nothing, if the stored version is the one before
    /// `change.stock.version`. Returns whether it was written by this call.
    async fn change_stock(&self, change: &StockChange) -> Result<bool, StoreError>;

    /// Writes a product as a whole, if the stored version is the one before `product.stock.version`, and creates it at
    /// version 1 if there is none. Returns whether it was written by this call.
    async fn put_product(&self, product: &Product) -> Result<bool, StoreError>;

    /// Reads at most `limit` products behind a product in the store's own order, `None` for the first page. A product that
    /// was created before the first page was read is on exactly one page.
    async fn products_after(
        &self,
        sku: Option<&str>,
        limit: usize,
    ) -> Result<Page<Product, String>, StoreError>;

    /// Streams every reservation of every product page by page, those of one product together.
    fn reservations(&self) -> BoxStream<'_, Result<(String, OrderId, Reservation), StoreError>>;
}
