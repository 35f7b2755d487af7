//! The port of carts on the table `shop_carts`.

use async_trait::async_trait;
use ecom_embedded::rusqlite::{self, Connection, Row};

use super::embedded_shop::EmbeddedShop;
use ecom_shop_store::{CartLine, CartStore};
use ecom_store::StoreError;

// A removal is a write without a quantity. It wins against a write at the same time; of two writes at the same
// time the larger quantity wins, so that the order in which they arrive does not matter.
const WRITE: &str = "INSERT INTO shop_carts (customer_id, sku, quantity, written_at) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (customer_id, sku) DO UPDATE
    SET quantity = excluded.quantity, written_at = excluded.written_at
    WHERE shop_carts.written_at < excluded.written_at
        OR (shop_carts.written_at = excluded.written_at
            AND (excluded.quantity IS NULL OR shop_carts.quantity < excluded.quantity))";
const READ: &str = "SELECT sku, quantity, written_at FROM shop_carts
    WHERE customer_id = ?1 AND quantity IS NOT NULL ORDER BY sku";

#[async_trait]
impl CartStore for EmbeddedShop {
    async fn put_line(
        &self,
        customer_id: i64,
        sku: &str,
        quantity: i64,
        written_at: i64,
    ) -> Result<(), StoreError> {
        let sku = sku.to_owned();
        let write =
            move |connection: &Connection| write(connection, customer_id, &sku, Some(quantity), written_at);
        self.embedded.write("write a line of a cart", write).await
    }

    async fn remove_line(&self, customer_id: i64, sku: &str, written_at: i64) -> Result<(), StoreError> {
        let sku = sku.to_owned();
        let write = move |connection: &Connection| write(connection, customer_id, &sku, None, written_at);
        self.embedded.write("remove a line of a cart", write).await
    }

    async fn cart(&self, customer_id: i64) -> Result<Vec<CartLine>, StoreError> {
        self.embedded.read("read a cart", move |connection| read(connection, customer_id)).await
    }
}

fn write(
    connection: &Connection,
    customer_id: i64,
    sku: &str,
    quantity: Option<i64>,
    written_at: i64,
) -> rusqlite::Result<()> {
    connection.prepare_cached(WRITE)?.execute((customer_id, sku, quantity, written_at))?;
    Ok(())
}

fn read(connection: &Connection, customer_id: i64) -> rusqlite::Result<Vec<CartLine>> {
    connection.prepare_cached(READ)?.query_map([customer_id], line)?.collect()
}

fn line(row: &Row<'_>) -> rusqlite::Result<CartLine> {
    Ok(CartLine { sku: row.get(0)?, quantity: row.get(1)?, written_at: row.get(2)? })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{plan, shop};
    use super::*;

    #[tokio::test]
    async fn a_cart_is_read_in_order_from_its_own_rows() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(&shop(dir.path()), READ).await;
        assert_eq!(plan, ["SEARCH shop_carts USING PRIMARY KEY (customer_id=?)"]);
    }
}
