//! The inventory store port on Cassandra.
//!
//! A product and its reservations are one partition, so that one lightweight transaction writes them together.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::future::ready;
use futures_util::pin_mut;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use scylla::serialize::row::SerializeRow;

use super::cells::Cells;
use super::store::CassandraShop;
use ecom_domain::order::OrderId;
use ecom_shop_domain::inventory::{Product, Reservation, ReservationState, Stock, StockChange};
use ecom_shop_domain::money::Currency;
use ecom_shop_store::{InventoryStore, Page, ReadGuarantee};
use ecom_store::StoreError;
use ecom_store_cassandra::StatementError;

#[async_trait]
impl InventoryStore for CassandraShop {
    async fn product(&self, sku: &str, guarantee: ReadGuarantee) -> Result<Option<Product>, StoreError> {
        let read = self.product_with(sku, guarantee);
        read.await.map_err(|error| error.at("read a product", self.store.name()))
    }

    /// Reads the reservations after the stock: what changes in between has another version, so nothing that is decided on
    /// both is written.
    async fn stock(
        &self,
        sku: &str,
        orders: &[OrderId],
    ) -> Result<Option<(Stock, BTreeMap<OrderId, Reservation>)>, StoreError> {
        let read = async {
            let Some(product) = self.product_with(sku, ReadGuarantee::Linearizable).await? else {
                return Ok(None);
            };
            Ok(Some((product.stock, self.reservations_of(sku, orders).await?)))
        };
        let read: Result<_, StatementError> = read.await;
        read.map_err(|error| error.at("read the stock of a product", self.store.name()))
    }

    async fn change_stock(&self, change: &StockChange) -> Result<bool, StoreError> {
        let batch = self.statements.inventory.change.batch(change.reservations.len());
        let written = self.conditionally_together(&batch, changed(change)).await;
        written.map_err(|error| error.at("change the stock of a product", self.store.name()))
    }

    async fn put_product(&self, product: &Product) -> Result<bool, StoreError> {
        let written = self.conditionally(&self.statements.inventory.put, put(product)).await;
        let (is_applied, _) = written.map_err(|error| error.at("write a product", self.store.name()))?;
        Ok(is_applied)
    }

    /// The order is that of the tokens of the ring.
    async fn products_after(
        &self,
        sku: Option<&str>,
        limit: usize,
    ) -> Result<Page<Product, String>, StoreError> {
        const WHAT: &str = "read products";
        let statements = &self.statements.inventory;
        // One more, to know whether it is the last page.
        let most = i32::try_from(limit).unwrap_or(i32::MAX).saturating_add(1);
        let rows = match sku {
            Some(sku) => self.store.rows(WHAT, &statements.products_after, (sku, most)).boxed(),
            None => self.store.rows(WHAT, &statements.products, (most,)).boxed(),
        };
        // Also those that are none count: somebody wrote them by hand.
        let products = rows.map(|row: Result<Cells, StoreError>| {
            product(row?).map_err(|error| error.at(WHAT, self.store.name()))
        });
        pin_mut!(products);
        let mut page = Page { records: Vec::new(), next: None };
        let (mut seen, mut last) = (0, None);
        while let Some((sku, product)) = products.try_next().await? {
            if seen >= limit {
                page.next = last;
                break;
            }
            seen += 1;
            last = Some(sku);
            page.records.extend(product);
        }
        Ok(page)
    }

    fn reservations(&self) -> BoxStream<'_, Result<(String, OrderId, Reservation), StoreError>> {
        const WHAT: &str = "read all reservations";
        let rows = self.store.rows::<Cells, _>(WHAT, &self.statements.inventory.reservations, ());
        let found = rows.map(|row| with_product(row?).map_err(|error| error.at(WHAT, self.store.name())));
        found.try_filter_map(|found| ready(Ok(found))).boxed()
    }
}

impl CassandraShop {
    async fn product_with(
        &self,
        sku: &str,
        guarantee: ReadGuarantee,
    ) -> Result<Option<Product>, StatementError> {
        let found = self.first_row(self.statements.inventory.product.with(guarantee), (sku,)).await?;
        Ok(found.map(product).transpose()?.and_then(|(_, product)| product))
    }

    async fn reservations_of(
        &self,
        sku: &str,
        orders: &[OrderId],
    ) -> Result<BTreeMap<OrderId, Reservation>, StatementError> {
        if orders.is_empty() {
            return Ok(BTreeMap::new());
        }
        let ids: Vec<i64> = orders.iter().map(|order| order.0).collect();
        let statement = &self.statements.inventory.reservations_of.linearizable;
        let response = self.store.session().execute_unpaged(statement, (sku, ids)).await?;
        let mut found = BTreeMap::new();
        for row in response.into_rows_result()?.rows::<Cells>()? {
            found.extend(reservation(sku, row?)?);
        }
        Ok(found)
    }
}

/// The values of a statement of the batch that changes a stock.
type BoxedValues<'a> = Box<dyn SerializeRow + Send + Sync + 'a>;

/// Returns the values of the batch that changes a stock: those of `CHANGE_STOCK`, and of a `PUT_RESERVATION` each.
fn changed(change: &StockChange) -> Vec<BoxedValues<'_>> {
    let StockChange { sku, stock, reservations } = change;
    let before = stock.version.saturating_sub(1);
    let counts = (stock.on_hand, stock.reserved, stock.stocked, stock.version, sku, before);
    let mut values: Vec<BoxedValues<'_>> = vec![Box::new(counts)];
    for (order_id, Reservation { quantity, state }) in reservations {
        values.push(Box::new((sku, order_id.0, *quantity, state.as_str())));
    }
    values
}

/// Returns the values of `PUT_PRODUCT`.
fn put(product: &Product) -> impl SerializeRow {
    let Product { sku, name, price_minor, currency, stock } = product;
    let before = stock.version.saturating_sub(1);
    // What has never been changed has no version.
    let before = (before != 0).then_some(before);
    let Stock { on_hand, reserved, stocked, version } = *stock;
    (name, *price_minor, currency.code(), on_hand, reserved, stocked, version, sku, before)
}

/// Decodes a product, with its key; `None` if there are only reservations.
fn product(mut cells: Cells) -> Result<(String, Option<Product>), StatementError> {
    let sku = cells.text("sku")?;
    let mut cells = cells.called(format!("product {sku:?}"));
    let Some(version) = cells.optional_number("version")? else { return Ok((sku, None)) };
    let stock = Stock {
        on_hand: cells.number("on_hand")?,
        reserved: cells.number("reserved")?,
        stocked: cells.number("stocked")?,
        version,
    };
    let product = Product {
        sku: sku.clone(),
        name: cells.text("name")?,
        price_minor: cells.number("price_minor")?,
        currency: cells.word("currency", Currency::try_new)?,
        stock,
    };
    Ok((sku, Some(product)))
}

/// Decodes a reservation of any product; `None` if it is the row of a product without any.
fn with_product(mut cells: Cells) -> Result<Option<(String, OrderId, Reservation)>, StatementError> {
    let sku = cells.text("sku")?;
    let found = reservation(&sku, cells)?;
    Ok(found.map(|(order_id, reservation)| (sku, order_id, reservation)))
}

/// Decodes a reservation; `None` if it is the row of a product without any.
fn reservation(sku: &str, mut cells: Cells) -> Result<Option<(OrderId, Reservation)>, StatementError> {
    let Some(order_id) = cells.optional_number("order_id")? else { return Ok(None) };
    let mut cells = cells.called(format!("the reservation of product {sku:?} by order {order_id}"));
    let state = cells.word("state", ReservationState::parse)?;
    Ok(Some((OrderId(order_id), Reservation { quantity: cells.number("quantity")?, state })))
}
