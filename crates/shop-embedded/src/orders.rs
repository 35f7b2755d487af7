//! The port of order records on the table `shop_orders`.

use std::collections::VecDeque;

use async_trait::async_trait;
use ecom_embedded::rusqlite::types::ValueRef;
use ecom_embedded::rusqlite::{self, Connection, OptionalExtension, Row, named_params};
use futures_util::TryStreamExt;
use futures_util::stream::{BoxStream, StreamExt};

use super::columns::{currency, invalid, parsed, request};
use super::embedded_shop::EmbeddedShop;
use super::page::{NEWEST, ROWS, cursor, page, rows_for};
use ecom_domain::order::OrderId;
use ecom_shop_domain::notice::Notice;
use ecom_shop_domain::order::{OrderDocument, OrderRecord, OrderState};
use ecom_shop_store::{Created, Cursor, OrderStore, Page, ReadGuarantee};
use ecom_store::StoreError;

const CREATE: &str = "INSERT INTO shop_orders (order_id, account, idempotency_key, fingerprint, customer_id,
        currency, total_minor, document, created_at, state, state_at, revision, attempt, due_at, detail)
    VALUES (:order_id, :account, :idempotency_key, :fingerprint, :customer_id, :currency, :total_minor, :document,
        :created_at, :state, :state_at, :revision, :attempt, :due_at, :detail)
    ON CONFLICT (order_id) DO NOTHING";
const MOVE: &str =
    "UPDATE shop_orders SET revision = ?2, state = ?3, state_at = ?4, attempt = ?5, due_at = ?6,
        detail = ?7
    WHERE order_id = ?1 AND revision = ?2 - 1";
const SET_NOTICE: &str = "UPDATE shop_orders SET notice = ?3 WHERE order_id = ?1 AND notice IS ?2";
const READ: &str = "SELECT * FROM shop_orders WHERE order_id = ?1";
const AFTER: &str = "SELECT * FROM shop_orders WHERE order_id > ?1 ORDER BY order_id LIMIT ?2";
const OF_CUSTOMER: &str = "SELECT * FROM shop_orders
    WHERE customer_id = ?1 AND (created_at, order_id) < (?2, ?3)
    ORDER BY created_at DESC, order_id DESC LIMIT ?4";
const DUE: &str = "SELECT due_at, order_id FROM shop_orders
    WHERE (due_at, order_id) > (?1, ?2) AND due_at <= ?3 ORDER BY due_at, order_id LIMIT ?4";

#[async_trait]
impl OrderStore for EmbeddedShop {
    async fn create_order(&self, order: &OrderRecord) -> Result<Created<OrderRecord>, StoreError> {
        let order = order.clone();
        self.embedded.write("create an order", move |connection| create(connection, &order)).await
    }

    async fn move_order(&self, next: &OrderRecord) -> Result<Option<OrderRecord>, StoreError> {
        let next = next.clone();
        self.embedded.write("update an order", move |connection| write_move(connection, &next)).await
    }

    async fn set_notice(
        &self,
        order_id: OrderId,
        before: Option<&Notice>,
        notice: &Notice,
    ) -> Result<Option<Notice>, StoreError> {
        let (before, notice) = (before.map(Notice::to_string), notice.to_string());
        let write = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(SET_NOTICE)?;
            statement.execute((order_id.0, &before, &notice))?;
            read(connection, order_id)
        };
        let stands = self.embedded.write("write the notice of an order", write).await?;
        Ok(stands.and_then(|order| order.notice))
    }

    async fn order(&self, order_id: OrderId, _: ReadGuarantee) -> Result<Option<OrderRecord>, StoreError> {
        self.embedded.read("read an order", move |connection| read(connection, order_id)).await
    }

    async fn orders_after(
        &self,
        place: Option<i64>,
        limit: usize,
    ) -> Result<Page<OrderRecord, i64>, StoreError> {
        let after = place.unwrap_or(i64::MIN);
        self.embedded.read("read orders", move |connection| orders_after(connection, after, limit)).await
    }

    async fn orders_of_customer(
        &self,
        customer_id: i64,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<OrderRecord, Cursor>, StoreError> {
        let before = before.unwrap_or(NEWEST);
        let read = move |connection: &Connection| orders_of_customer(connection, customer_id, before, limit);
        self.embedded.read("read the orders of a customer", read).await
    }

    fn due_orders(&self, after: i64, through: i64) -> BoxStream<'_, Result<OrderId, StoreError>> {
        let start = Cursor { at: after, id: i64::MAX };
        let read = move |connection: &Connection, after: &Cursor| due_orders(connection, *after, through);
        let due = self.embedded.pages("read due orders", start, read, |due| *due);
        due.map_ok(|due| OrderId(due.id)).boxed()
    }

    fn orders(&self) -> BoxStream<'_, Result<OrderRecord, StoreError>> {
        let read = |connection: &Connection, after: &i64| {
            orders_after(connection, *after, ROWS).map(|page| page.records.into())
        };
        self.embedded.pages("read all orders", i64::MIN, read, |order: &OrderRecord| order.order_id.0)
    }
}

fn create(connection: &Connection, order: &OrderRecord) -> rusqlite::Result<Created<OrderRecord>> {
    let document = serde_json::to_string(&order.document).expect("texts and numbers by name make an object");
    let created = connection.prepare_cached(CREATE)?.execute(named_params! {
        ":order_id": order.order_id.0,
        ":account": order.request.account,
        ":idempotency_key": order.request.key,
        ":fingerprint": order.fingerprint,
        ":customer_id": order.customer_id,
        ":currency": order.currency.code(),
        ":total_minor": order.total_minor,
        ":document": document,
        ":created_at": order.created_at,
        ":state": order.state.as_str(),
        ":state_at": order.state_at,
        ":revision": order.revision,
        ":attempt": order.attempt,
        ":due_at": order.due_at,
        ":detail": order.detail,
    })?;
    let record = connection.prepare_cached(READ)?.query_row([order.order_id.0], record)?;
    Ok(Created { record, is_new: created == 1 })
}

fn write_move(connection: &Connection, next: &OrderRecord) -> rusqlite::Result<Option<OrderRecord>> {
    connection.prepare_cached(MOVE)?.execute((
        next.order_id.0,
        next.revision,
        next.state.as_str(),
        next.state_at,
        next.attempt,
        next.due_at,
        &next.detail,
    ))?;
    read(connection, next.order_id)
}

fn read(connection: &Connection, order_id: OrderId) -> rusqlite::Result<Option<OrderRecord>> {
    connection.prepare_cached(READ)?.query_row([order_id.0], record).optional()
}

fn orders_after(
    connection: &Connection,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Page<OrderRecord, i64>> {
    let mut statement = connection.prepare_cached(AFTER)?;
    page(statement.query((after, rows_for(limit)))?, limit, record, |order| order.order_id.0)
}

fn orders_of_customer(
    connection: &Connection,
    customer_id: i64,
    before: Cursor,
    limit: usize,
) -> rusqlite::Result<Page<OrderRecord, Cursor>> {
    let mut statement = connection.prepare_cached(OF_CUSTOMER)?;
    let rows = statement.query((customer_id, before.at, before.id, rows_for(limit)))?;
    page(rows, limit, record, |order| Cursor { at: order.created_at, id: order.order_id.0 })
}

fn due_orders(connection: &Connection, after: Cursor, through: i64) -> rusqlite::Result<VecDeque<Cursor>> {
    let mut statement = connection.prepare_cached(DUE)?;
    statement.query_map((after.at, after.id, through, ROWS as i64), cursor)?.collect()
}

fn record(row: &Row<'_>) -> rusqlite::Result<OrderRecord> {
    Ok(OrderRecord {
        order_id: OrderId(row.get("order_id")?),
        request: request(row)?,
        fingerprint: row.get("fingerprint")?,
        customer_id: row.get("customer_id")?,
        currency: currency(row)?,
        total_minor: row.get("total_minor")?,
        document: document(row)?,
        created_at: row.get("created_at")?,
        state: parsed(row, "state", OrderState::parse)?,
        state_at: row.get("state_at")?,
        revision: row.get("revision")?,
        attempt: row.get("attempt")?,
        due_at: row.get("due_at")?,
        detail: row.get("detail")?,
        notice: notice(row)?,
    })
}

fn notice(row: &Row<'_>) -> rusqlite::Result<Option<Notice>> {
    match row.get_ref("notice")? {
        ValueRef::Null => Ok(None),
        _ => parsed(row, "notice", Notice::parse).map(Some),
    }
}

/// Reads the column of the document. An error names a place in it, and no value: those are personal data.
fn document(row: &Row<'_>) -> rusqlite::Result<OrderDocument> {
    let text = row.get_ref("document")?.as_str()?;
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let fault = format_args!("it is not what was ordered, as JSON, at line {line} column {column}");
        invalid(row, "document", fault)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{plan, shop};
    use super::*;

    #[tokio::test]
    async fn every_statement_finds_its_orders_by_an_index_that_sorts_them() {
        let dir = tempfile::tempdir().unwrap();
        let shop = shop(dir.path());
        let primary_key = "USING INTEGER PRIMARY KEY (rowid";
        for (statement, index) in [
            (MOVE, primary_key),
            (SET_NOTICE, primary_key),
            (READ, primary_key),
            (AFTER, primary_key),
            (OF_CUSTOMER, "USING INDEX shop_orders_by_customer (customer_id=? AND created_at<?)"),
            (DUE, "USING COVERING INDEX shop_orders_by_due_time (due_at>? AND due_at<?)"),
        ] {
            let plan = plan(&shop, statement).await;
            assert_eq!(plan.len(), 1, "no sorting: {plan:?}");
            assert!(plan[0].contains(index), "{plan:?}");
        }
    }
}
