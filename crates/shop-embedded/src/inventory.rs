//! The port of the inventory on the tables `shop_products` and `shop_reservations`.

use std::collections::{BTreeMap, VecDeque};

use async_trait::async_trait;
use ecom_embedded::rusqlite::{self, Connection, OptionalExtension, Row, named_params};
use futures_util::stream::BoxStream;

use super::columns::{currency, invalid};
use super::embedded_shop::EmbeddedShop;
use super::page::{ROWS, page, rows_for};
use ecom_domain::order::OrderId;
use ecom_shop_domain::inventory::{Product, Reservation, ReservationState, Stock, StockChange};
use ecom_shop_store::{InventoryStore, Page, ReadGuarantee};
use ecom_store::StoreError;

const CREATE: &str =
    "INSERT INTO shop_products (sku, name, price_minor, currency, on_hand, reserved, stocked, version)
    VALUES (:sku, :name, :price_minor, :currency, :on_hand, :reserved, :stocked, :version)
    ON CONFLICT (sku) DO NOTHING";
const REPLACE: &str =
    "UPDATE shop_products SET name = :name, price_minor = :price_minor, currency = :currency,
        on_hand = :on_hand, reserved = :reserved, stocked = :stocked, version = :version
    WHERE sku = :sku AND version = :version - 1";
const READ: &str = "SELECT * FROM shop_products WHERE sku = ?1";
const AFTER: &str = "SELECT * FROM shop_products WHERE sku > ?1 ORDER BY sku LIMIT ?2";
const CHANGE_STOCK: &str = "UPDATE shop_products SET on_hand = ?3, reserved = ?4, stocked = ?5, version = ?2
    WHERE sku = ?1 AND version = ?2 - 1";
const WRITE_RESERVATION: &str =
    "INSERT INTO shop_reservations (sku, order_id, quantity, state) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (sku, order_id) DO UPDATE SET quantity = excluded.quantity, state = excluded.state";
const RESERVATION: &str = "SELECT * FROM shop_reservations WHERE sku = ?1 AND order_id = ?2";
const RESERVATIONS_AFTER: &str = "SELECT * FROM shop_reservations WHERE (sku, order_id) > (?1, ?2)
    ORDER BY sku, order_id LIMIT ?3";

/// The place before every product. No SKU is empty.
const FIRST: &str = "";

/// The stock of a product, and reservations of it.
type StockOfOrders = (Stock, BTreeMap<OrderId, Reservation>);

#[async_trait]
impl InventoryStore for EmbeddedShop {
    async fn product(&self, sku: &str, _: ReadGuarantee) -> Result<Option<Product>, StoreError> {
        let sku = sku.to_owned();
        let read = move |connection: &Connection| {
            connection.prepare_cached(READ)?.query_row([&sku], product).optional()
        };
        self.embedded.read("read a product", read).await
    }

    async fn stock(&self, sku: &str, orders: &[OrderId]) -> Result<Option<StockOfOrders>, StoreError> {
        let (sku, orders) = (sku.to_owned(), orders.to_vec());
        let read = move |connection: &Connection| stock_of_orders(connection, &sku, &orders);
        self.embedded.read("read the stock of a product", read).await
    }

    async fn change_stock(&self, change: &StockChange) -> Result<bool, StoreError> {
        let change = change.clone();
        let write = move |connection: &Connection| change_stock(connection, &change);
        self.embedded.write("change the stock of a product", write).await
    }

    async fn put_product(&self, product: &Product) -> Result<bool, StoreError> {
        let product = product.clone();
        self.embedded.write("write a product", move |connection| put(connection, &product)).await
    }

    async fn products_after(
        &self,
        sku: Option<&str>,
        limit: usize,
    ) -> Result<Page<Product, String>, StoreError> {
        let after = sku.unwrap_or(FIRST).to_owned();
        let read = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(AFTER)?;
            page(statement.query((&after, rows_for(limit)))?, limit, product, |product| product.sku.clone())
        };
        self.embedded.read("read products", read).await
    }

    fn reservations(&self) -> BoxStream<'_, Result<(String, OrderId, Reservation), StoreError>> {
        let start = (FIRST.to_owned(), i64::MAX);
        self.embedded.pages("read all reservations", start, reservations_after, key)
    }
}

fn put(connection: &Connection, product: &Product) -> rusqlite::Result<bool> {
    let statement = if product.stock.version == 1 { CREATE } else { REPLACE };
    let written = connection.prepare_cached(statement)?.execute(named_params! {
        ":sku": product.sku,
        ":name": product.name,
        ":price_minor": product.price_minor,
        ":currency": product.currency.code(),
        ":on_hand": product.stock.on_hand,
        ":reserved": product.stock.reserved,
        ":stocked": product.stock.stocked,
        ":version": product.stock.version,
    })?;
    Ok(written == 1)
}

fn change_stock(connection: &Connection, change: &StockChange) -> rusqlite::Result<bool> {
    let StockChange { sku, stock, reservations } = change;
    let written = connection.prepare_cached(CHANGE_STOCK)?.execute((
        sku,
        stock.version,
        stock.on_hand,
        stock.reserved,
        stock.stocked,
    ))?;
    // The version has passed, or there is no such product. That must not be an error: the transaction is
    // shared with other writes, and those would be run once more.
    if written == 0 {
        return Ok(false);
    }
    let mut statement = connection.prepare_cached(WRITE_RESERVATION)?;
    for (order_id, reservation) in reservations {
        statement.execute((sku, order_id.0, reservation.quantity, reservation.state.as_str()))?;
    }
    Ok(true)
}

fn stock_of_orders(
    connection: &Connection,
    sku: &str,
    orders: &[OrderId],
) -> rusqlite::Result<Option<StockOfOrders>> {
    let Some(stock) = connection.prepare_cached(READ)?.query_row([sku], stock).optional()? else {
        return Ok(None);
    };
    let mut statement = connection.prepare_cached(RESERVATION)?;
    let mut reservations = BTreeMap::new();
    for order_id in orders {
        let found = statement.query_row((sku, order_id.0), reservation).optional()?;
        reservations.extend(found.map(|(_, order_id, reservation)| (order_id, reservation)));
    }
    Ok(Some((stock, reservations)))
}

fn reservations_after(
    connection: &Connection,
    (sku, order_id): &(String, i64),
) -> rusqlite::Result<VecDeque<(String, OrderId, Reservation)>> {
    let mut statement = connection.prepare_cached(RESERVATIONS_AFTER)?;
    let page = page(statement.query((sku, order_id, rows_for(ROWS)))?, ROWS, reservation, key)?;
    Ok(page.records.into())
}

/// Returns the primary key of a reservation.
fn key((sku, order_id, _): &(String, OrderId, Reservation)) -> (String, i64) {
    (sku.clone(), order_id.0)
}

fn product(row: &Row<'_>) -> rusqlite::Result<Product> {
    Ok(Product {
        sku: row.get("sku")?,
        name: row.get("name")?,
        price_minor: row.get("price_minor")?,
        currency: currency(row)?,
        stock: stock(row)?,
    })
}

fn stock(row: &Row<'_>) -> rusqlite::Result<Stock> {
    Ok(Stock {
        on_hand: row.get("on_hand")?,
        reserved: row.get("reserved")?,
        stocked: row.get("stocked")?,
        version: row.get("version")?,
    })
}

fn reservation(row: &Row<'_>) -> rusqlite::Result<(String, OrderId, Reservation)> {
    let order_id: i64 = row.get("order_id")?;
    let state = row.get_ref("state")?.as_str()?;
    let state = ReservationState::parse(state).ok_or_else(|| {
        let fault = format_args!("{state:?} is not a known value, in the reservation of order {order_id}");
        invalid(row, "state", fault)
    })?;
    Ok((row.get("sku")?, OrderId(order_id), Reservation { quantity: row.get("quantity")?, state }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{plan, shop};
    use super::*;

    #[tokio::test]
    async fn every_statement_finds_its_products_and_reservations_by_the_primary_key_that_sorts_them() {
        let dir = tempfile::tempdir().unwrap();
        let shop = shop(dir.path());
        for (statement, rows) in [
            (REPLACE, "shop_products USING PRIMARY KEY (sku=?)"),
            (READ, "shop_products USING PRIMARY KEY (sku=?)"),
            (AFTER, "shop_products USING PRIMARY KEY (sku>?)"),
            (CHANGE_STOCK, "shop_products USING PRIMARY KEY (sku=?)"),
            (RESERVATION, "shop_reservations USING PRIMARY KEY (sku=? AND order_id=?)"),
            (RESERVATIONS_AFTER, "shop_reservations USING PRIMARY KEY ((sku,order_id)>(?,?))"),
        ] {
            assert_eq!(plan(&shop, statement).await, [format!("SEARCH {rows}")], "no sorting");
        }
    }

    #[tokio::test]
    async fn the_units_sold_of_a_product_are_added_up_from_its_own_reservations() {
        let dir = tempfile::tempdir().unwrap();
        let shop = shop(dir.path());
        let mut plan = plan(&shop, "SELECT * FROM shop_stock WHERE sku = ?1").await;
        plan.retain(|step| !step.starts_with("CORRELATED SCALAR SUBQUERY"));
        let of_sku = |table: &str| format!("SEARCH {table} USING PRIMARY KEY (sku=?)");
        assert_eq!(plan, ["shop_products", "shop_reservations"].map(of_sku));
    }
}
