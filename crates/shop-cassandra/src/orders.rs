//! The order store port on Cassandra.

use async_trait::async_trait;
use futures_util::pin_mut;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use scylla::serialize::row::SerializeRow;
use scylla::value::MaybeUnset;

use super::cells::Cells;
use super::lists::{self, Due, Hint, NEWEST, Step};
use super::store::CassandraShop;
use ecom_domain::order::OrderId;
use ecom_shop_domain::identity::RequestKey;
use ecom_shop_domain::money::Currency;
use ecom_shop_domain::notice::Notice;
use ecom_shop_domain::order::{OrderRecord, OrderState};
use ecom_shop_store::{Created, Cursor, OrderStore, Page, ReadGuarantee};
use ecom_store::StoreError;
use ecom_store_cassandra::StatementError;

#[async_trait]
impl OrderStore for CassandraShop {
    async fn create_order(&self, order: &OrderRecord) -> Result<Created<OrderRecord>, StoreError> {
        let write = async {
            let place = Cursor { at: order.created_at, id: order.order_id.0 };
            let of_customer = Hint::of_customer(order.customer_id, place);
            self.record_hints([Some(of_customer), due_hint(order)].into_iter().flatten()).await?;
            self.create(&self.statements.orders, created(order), order, decode).await
        };
        write.await.map_err(|error| error.at("create an order", self.store.name()))
    }

    async fn move_order(&self, next: &OrderRecord) -> Result<Option<OrderRecord>, StoreError> {
        let write = async {
            self.record_hints(due_hint(next)).await?;
            let id = next.order_id.0;
            self.move_to(&self.statements.orders, moved(next), (id, next), decode).await
        };
        write.await.map_err(|error| error.at("move an order", self.store.name()))
    }

    async fn set_notice(
        &self,
        order_id: OrderId,
        before: Option<&Notice>,
        notice: &Notice,
    ) -> Result<Option<Notice>, StoreError> {
        let write = async {
            let values = (notice.to_string(), order_id.0, before.map(Notice::to_string));
            let (is_applied, found) = self.conditionally(&self.statements.set_notice, values).await?;
            if is_applied {
                Ok(Some(notice.clone()))
            } else {
                stands(found.called(format!("order {order_id}")))
            }
        };
        write
            .await
            .map_err(|error: StatementError| error.at("write the notice of an order", self.store.name()))
    }

    async fn order(
        &self,
        order_id: OrderId,
        guarantee: ReadGuarantee,
    ) -> Result<Option<OrderRecord>, StoreError> {
        let read = self.record(&self.statements.orders, order_id.0, guarantee, decode);
        read.await.map_err(|error| error.at("read an order", self.store.name()))
    }

    /// A place is a token of the ring; the first page begins before the lowest, which no partition has.
    async fn orders_after(
        &self,
        place: Option<i64>,
        limit: usize,
    ) -> Result<Page<OrderRecord, i64>, StoreError> {
        const WHAT: &str = "read orders";
        // One more, to know whether it is the last page.
        let rows = i32::try_from(limit).unwrap_or(i32::MAX).saturating_add(1);
        let values = (place.unwrap_or(i64::MIN), rows);
        let rows = self.store.rows::<Cells, _>(WHAT, &self.statements.orders_after, values);
        pin_mut!(rows);
        let mut page = Page { records: Vec::new(), next: None };
        let mut last = None;
        while let Some(mut row) = rows.try_next().await? {
            if page.records.len() >= limit {
                page.next = last;
                break;
            }
            let read = row.number("place").and_then(|place| Ok((place, decode(row)?)));
            let (place, order) = read.map_err(|error| error.at(WHAT, self.store.name()))?;
            page.records.push(order);
            last = Some(place);
        }
        Ok(page)
    }

    async fn orders_of_customer(
        &self,
        customer_id: i64,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<OrderRecord, Cursor>, StoreError> {
        let lists = vec![lists::of_customer(customer_id)];
        let hints = self.hints(lists, before.unwrap_or(NEWEST), lists::chunk_for(limit));
        let read = |hint: Cursor| async move {
            let statements = &self.statements.orders;
            let order = self.record(statements, hint.id, ReadGuarantee::Committed, decode).await?;
            Ok(order.filter(|order| order.customer_id == customer_id && order.created_at == hint.at))
        };
        let page = lists::page(hints.map_ok(Step::Hint), limit, read);
        page.await.map_err(|error| error.at("read the orders of a customer", self.store.name()))
    }

    /// Reads a list for every minute of the range, also for those in which nothing was due.
    fn due_orders(&self, after: i64, through: i64) -> BoxStream<'_, Result<OrderId, StoreError>> {
        self.due("read due orders", Due::Orders, after, through).map_ok(OrderId).boxed()
    }

    fn orders(&self) -> BoxStream<'_, Result<OrderRecord, StoreError>> {
        const WHAT: &str = "read all orders";
        let rows = self.store.rows::<Cells, _>(WHAT, &self.statements.orders.all, ());
        rows.map(|row| decode(row?).map_err(|error| error.at(WHAT, self.store.name()))).boxed()
    }
}

fn due_hint(order: &OrderRecord) -> Option<Hint> {
    Some(Hint::of_due(Due::Orders, order.due_at?, order.order_id.0, order.state_at))
}

/// Returns the values of `CREATE_ORDER`. Absent values are left unset: a null would write a tombstone.
fn created(order: &OrderRecord) -> impl SerializeRow {
    let document = serde_json::to_string(&order.document).expect("texts and numbers serialize");
    (
        order.order_id.0,
        &order.request.account,
        &order.request.key,
        &order.fingerprint,
        order.customer_id,
        order.currency.code(),
        order.total_minor,
        document,
        order.created_at,
        order.state.as_str(),
        order.state_at,
        order.revision,
        order.attempt,
        MaybeUnset::from_option(order.due_at),
        MaybeUnset::from_option(order.detail.as_deref()),
    )
}

/// Returns the values of `MOVE_ORDER`. Absent values are null: the state before may have had them.
fn moved(next: &OrderRecord) -> impl SerializeRow {
    (
        next.state.as_str(),
        next.state_at,
        next.revision,
        next.attempt,
        next.due_at,
        next.detail.as_deref(),
        next.order_id.0,
        next.revision.saturating_sub(1),
    )
}

/// Decodes an order.
fn decode(cells: Cells) -> Result<OrderRecord, StatementError> {
    let mut cells = cells.named("order", "order_id");
    let document = cells.text("document")?;
    Ok(OrderRecord {
        order_id: OrderId(cells.number("order_id")?),
        request: RequestKey { account: cells.text("account")?, key: cells.text("idempotency_key")? },
        fingerprint: cells.text("fingerprint")?,
        customer_id: cells.number("customer_id")?,
        currency: cells.word("currency", Currency::try_new)?,
        total_minor: cells.number("total_minor")?,
        // Not the error as it is: it quotes the document, which has an address.
        document: serde_json::from_str(&document).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            cells.fault("document", format!("is not an order from line {line} column {column} on"))
        })?,
        created_at: cells.number("created_at")?,
        state: cells.word("state", OrderState::parse)?,
        state_at: cells.number("state_at")?,
        revision: cells.number("revision")?,
        attempt: cells.number("attempt")?,
        due_at: cells.optional_number("due_at")?,
        detail: cells.optional_text("detail")?,
        notice: stands(cells)?,
    })
}

/// Takes the notice of an order.
fn stands(mut cells: Cells) -> Result<Option<Notice>, StatementError> {
    let Some(text) = cells.optional_text("notice")? else { return Ok(None) };
    Notice::parse(&text)
        .map(Some)
        .ok_or_else(|| cells.fault("notice", format!("is {text:?}, which is no notice")))
}
