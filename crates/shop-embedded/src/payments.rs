//! The port of payment records on the table `shop_payments`.

use std::collections::VecDeque;

use async_trait::async_trait;
use ecom_embedded::rusqlite::{self, Connection, OptionalExtension, Row, named_params};
use futures_util::TryStreamExt;
use futures_util::stream::{BoxStream, StreamExt};

use super::columns::{card_last_four, currency, invalid, parsed, request};
use super::embedded_shop::EmbeddedShop;
use super::page::{NEWEST, ROWS, cursor, page, rows_for};
use ecom_domain::order::OrderId;
use ecom_domain::payment::CardLastFour;
use ecom_shop_domain::payment::{PaymentRecord, PaymentState};
use ecom_shop_store::{Created, Cursor, Page, PaymentStore, ReadGuarantee};
use ecom_store::StoreError;

const CREATE: &str = "INSERT INTO shop_payments (payment_id, account, idempotency_key, fingerprint, order_id,
        attempt, sender, receiver, payment_method, card_last_four, amount_minor, currency, created_at, state,
        state_at, processing_at, revision, due_at, error_message)
    VALUES (:payment_id, :account, :idempotency_key, :fingerprint, :order_id, :attempt, :sender, :receiver,
        :payment_method, :card_last_four, :amount_minor, :currency, :created_at, :state, :state_at, :processing_at,
        :revision, :due_at, :error_message)
    ON CONFLICT (payment_id) DO NOTHING";
const MOVE: &str = "UPDATE shop_payments SET revision = ?2, state = ?3, state_at = ?4, processing_at = ?5,
        due_at = ?6, error_message = ?7
    WHERE payment_id = ?1 AND revision = ?2 - 1";
const READ: &str = "SELECT * FROM shop_payments WHERE payment_id = ?1";
const AFTER: &str = "SELECT * FROM shop_payments WHERE payment_id > ?1 ORDER BY payment_id LIMIT ?2";
const BEFORE: &str = "SELECT * FROM shop_payments WHERE (created_at, payment_id) < (?1, ?2)
    ORDER BY created_at DESC, payment_id DESC LIMIT ?3";
const OF_STATE_BEFORE: &str = "SELECT * FROM shop_payments
    WHERE state = ?4 AND (created_at, payment_id) < (?1, ?2)
    ORDER BY created_at DESC, payment_id DESC LIMIT ?3";
const DUE: &str = "SELECT due_at, payment_id FROM shop_payments
    WHERE (due_at, payment_id) > (?1, ?2) AND due_at <= ?3 ORDER BY due_at, payment_id LIMIT ?4";

#[async_trait]
impl PaymentStore for EmbeddedShop {
    async fn create_payment(&self, payment: &PaymentRecord) -> Result<Created<PaymentRecord>, StoreError> {
        let payment = payment.clone();
        self.embedded.write("create a payment", move |connection| create(connection, &payment)).await
    }

    async fn move_payment(&self, next: &PaymentRecord) -> Result<Option<PaymentRecord>, StoreError> {
        let next = next.clone();
        self.embedded.write("update a payment", move |connection| write_move(connection, &next)).await
    }

    async fn payment(&self, payment_id: i64, _: ReadGuarantee) -> Result<Option<PaymentRecord>, StoreError> {
        self.embedded.read("read a payment", move |connection| read(connection, payment_id)).await
    }

    async fn payments_before(
        &self,
        state: Option<PaymentState>,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<PaymentRecord, Cursor>, StoreError> {
        let before = before.unwrap_or(NEWEST);
        let read = move |connection: &Connection| payments_before(connection, state, before, limit);
        self.embedded.read("read payments", read).await
    }

    fn due_payments(&self, after: i64, through: i64) -> BoxStream<'_, Result<i64, StoreError>> {
        let start = Cursor { at: after, id: i64::MAX };
        let read = move |connection: &Connection, after: &Cursor| due_payments(connection, *after, through);
        let due = self.embedded.pages("read due payments", start, read, |due| *due);
        due.map_ok(|due| due.id).boxed()
    }

    fn payments(&self) -> BoxStream<'_, Result<PaymentRecord, StoreError>> {
        let read = |connection: &Connection, after: &i64| payments_after(connection, *after);
        self.embedded.pages("read all payments", i64::MIN, read, |payment| payment.payment_id)
    }
}

fn create(connection: &Connection, payment: &PaymentRecord) -> rusqlite::Result<Created<PaymentRecord>> {
    let created = connection.prepare_cached(CREATE)?.execute(named_params! {
        ":payment_id": payment.payment_id,
        ":account": payment.request.account,
        ":idempotency_key": payment.request.key,
        ":fingerprint": payment.fingerprint,
        ":order_id": payment.of_order.map(|(order_id, _)| order_id.0),
        ":attempt": payment.of_order.map(|(_, attempt)| attempt),
        ":sender": payment.sender,
        ":receiver": payment.receiver,
        ":payment_method": payment.payment_method,
        ":card_last_four": payment.card_last_four.as_ref().map(CardLastFour::as_str),
        ":amount_minor": payment.amount_minor,
        ":currency": payment.currency.code(),
        ":created_at": payment.created_at,
        ":state": payment.state.as_str(),
        ":state_at": payment.state_at,
        ":processing_at": payment.processing_at,
        ":revision": payment.revision,
        ":due_at": payment.due_at,
        ":error_message": payment.error_message,
    })?;
    let record = connection.prepare_cached(READ)?.query_row([payment.payment_id], record)?;
    Ok(Created { record, is_new: created == 1 })
}

fn write_move(connection: &Connection, next: &PaymentRecord) -> rusqlite::Result<Option<PaymentRecord>> {
    connection.prepare_cached(MOVE)?.execute((
        next.payment_id,
        next.revision,
        next.state.as_str(),
        next.state_at,
        next.processing_at,
        next.due_at,
        &next.error_message,
    ))?;
    read(connection, next.payment_id)
}

fn read(connection: &Connection, payment_id: i64) -> rusqlite::Result<Option<PaymentRecord>> {
    connection.prepare_cached(READ)?.query_row([payment_id], record).optional()
}

fn payments_before(
    connection: &Connection,
    state: Option<PaymentState>,
    before: Cursor,
    limit: usize,
) -> rusqlite::Result<Page<PaymentRecord, Cursor>> {
    let (at, id, rows) = (before.at, before.id, rows_for(limit));
    let place = |payment: &PaymentRecord| Cursor { at: payment.created_at, id: payment.payment_id };
    match state {
        None => page(connection.prepare_cached(BEFORE)?.query((at, id, rows))?, limit, record, place),
        Some(state) => {
            let mut statement = connection.prepare_cached(OF_STATE_BEFORE)?;
            page(statement.query((at, id, rows, state.as_str()))?, limit, record, place)
        }
    }
}

fn payments_after(connection: &Connection, after: i64) -> rusqlite::Result<VecDeque<PaymentRecord>> {
    let mut statement = connection.prepare_cached(AFTER)?;
    let page = page(statement.query((after, rows_for(ROWS)))?, ROWS, record, |payment| payment.payment_id)?;
    Ok(page.records.into())
}

fn due_payments(connection: &Connection, after: Cursor, through: i64) -> rusqlite::Result<VecDeque<Cursor>> {
    let mut statement = connection.prepare_cached(DUE)?;
    statement.query_map((after.at, after.id, through, ROWS as i64), cursor)?.collect()
}

fn record(row: &Row<'_>) -> rusqlite::Result<PaymentRecord> {
    let order_id: Option<i64> = row.get("order_id")?;
    Ok(PaymentRecord {
        payment_id: row.get("payment_id")?,
        request: request(row)?,
        fingerprint: row.get("fingerprint")?,
        of_order: match (order_id, row.get("attempt")?) {
            (Some(order_id), Some(attempt)) => Some((OrderId(order_id), attempt)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(invalid(row, "attempt", "only one of order_id and attempt is null"));
            }
        },
        sender: row.get("sender")?,
        receiver: row.get("receiver")?,
        payment_method: row.get("payment_method")?,
        card_last_four: card_last_four(row)?,
        amount_minor: row.get("amount_minor")?,
        currency: currency(row)?,
        created_at: row.get("created_at")?,
        state: parsed(row, "state", PaymentState::parse)?,
        state_at: row.get("state_at")?,
        processing_at: row.get("processing_at")?,
        revision: row.get("revision")?,
        due_at: row.get("due_at")?,
        error_message: row.get("error_message")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{plan, shop};
    use super::*;

    #[tokio::test]
    async fn every_statement_finds_its_payments_by_an_index_that_sorts_them() {
        let dir = tempfile::tempdir().unwrap();
        let shop = shop(dir.path());
        let primary_key = "USING INTEGER PRIMARY KEY (rowid";
        for (statement, index) in [
            (MOVE, primary_key),
            (READ, primary_key),
            (AFTER, primary_key),
            (BEFORE, "USING INDEX shop_payments_by_time (created_at<?)"),
            (OF_STATE_BEFORE, "USING INDEX shop_payments_by_state (state=? AND created_at<?)"),
            (DUE, "USING COVERING INDEX shop_payments_by_due_time (due_at>? AND due_at<?)"),
        ] {
            let plan = plan(&shop, statement).await;
            assert_eq!(plan.len(), 1, "no sorting: {plan:?}");
            assert!(plan[0].contains(index), "{plan:?}");
        }
    }
}
