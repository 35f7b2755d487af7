//! The cart store port on Cassandra.

use async_trait::async_trait;
use futures_util::stream::{StreamExt, TryStreamExt};

use super::cells::Cells;
use super::store::CassandraShop;
use ecom_shop_store::{CartLine, CartStore};
use ecom_store::StoreError;
use ecom_store_cassandra::StatementError;

#[async_trait]
impl CartStore for CassandraShop {
    async fn put_line(
        &self,
        customer_id: i64,
        sku: &str,
        quantity: i64,
        written_at: i64,
    ) -> Result<(), StoreError> {
        let (session, statement) = (self.store.session(), &self.statements.carts.put_line);
        let written = session.execute_unpaged(statement, (customer_id, sku, quantity, written_at)).await;
        written
            .map(drop)
            .map_err(|error| StatementError::from(error).at("write a line of a cart", self.store.name()))
    }

    async fn remove_line(&self, customer_id: i64, sku: &str, written_at: i64) -> Result<(), StoreError> {
        let (session, statement) = (self.store.session(), &self.statements.carts.remove_line);
        let removed = session.execute_unpaged(statement, (written_at, customer_id, sku)).await;
        removed
            .map(drop)
            .map_err(|error| StatementError::from(error).at("remove a line of a cart", self.store.name()))
    }

    async fn cart(&self, customer_id: i64) -> Result<Vec<CartLine>, StoreError> {
        const WHAT: &str = "read a cart";
        let rows = self.store.rows::<Cells, _>(WHAT, &self.statements.carts.cart, (customer_id,));
        let lines =
            rows.map(|row| line(customer_id, row?).map_err(|error| error.at(WHAT, self.store.name())));
        lines.try_collect().await
    }
}

/// Decodes a line.
fn line(customer_id: i64, mut cells: Cells) -> Result<CartLine, StatementError> {
    let sku = cells.text("sku")?;
    let mut cells = cells.called(format!("line {sku:?} of the cart of customer {customer_id}"));
    Ok(CartLine { quantity: cells.number("quantity")?, written_at: cells.number("written_at")?, sku })
}
