//! The table of superseded payments.

use std::collections::VecDeque;

use rusqlite::{Connection, Row};

use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{PaymentCells, SupersededPayment};
use ecom_domain::order::OrderId;

/// Rows per page.
const PAGE: i64 = 1_000;
const RECORD: &str = "INSERT OR REPLACE INTO superseded_payments (order_id, t, payment_id, payment_method,
        card_last_four, payment_status, payment_datetime)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const SELECT: &str = "SELECT order_id, t, payment_id, payment_method, card_last_four, payment_status,
    payment_datetime FROM superseded_payments";

/// The position of a row in a scan: by order, newest payment first.
#[derive(Clone, Copy)]
pub(super) struct Key(i64, i64, i64);

impl Key {
    /// A position before every row.
    pub(super) const FIRST: Self = Self(i64::MIN, i64::MIN, i64::MIN);

    pub(super) fn of(superseded: &SupersededPayment) -> Self {
        let SupersededPayment { order_id, t, payment } = superseded;
        Self(order_id.0, t.micros(), payment.payment_id.unwrap_or_default())
    }
}

/// Writes a superseded payment; again without effect.
pub(super) fn record(connection: &Connection, superseded: &SupersededPayment) -> rusqlite::Result<()> {
    let SupersededPayment { order_id, t, payment } = superseded;
    connection.prepare_cached(RECORD)?.execute((
        order_id.0,
        t.micros(),
        payment.payment_id,
        &payment.payment_method,
        &payment.card_last_four,
        &payment.payment_status,
        &payment.payment_datetime,
    ))?;
    Ok(())
}

/// Reads the superseded payments of an order, newest first.
pub(super) fn of_order(
    connection: &Connection,
    order_id: OrderId,
) -> rusqlite::Result<Vec<SupersededPayment>> {
    connection
        .prepare_cached(&format!("{SELECT} WHERE order_id = ?1 ORDER BY t DESC, payment_id DESC"))?
        .query_map([order_id.0], superseded)?
        .collect()
}

/// Reads a page of all superseded payments.
pub(super) fn after(connection: &Connection, after: &Key) -> rusqlite::Result<VecDeque<SupersededPayment>> {
    let Key(order_id, t, payment_id) = *after;
    connection
        .prepare_cached(&format!(
            "{SELECT} WHERE order_id >= ?1 AND (order_id > ?1 OR (t, payment_id) < (?2, ?3))
             ORDER BY order_id, t DESC, payment_id DESC LIMIT ?4"
        ))?
        .query_map((order_id, t, payment_id, PAGE), superseded)?
        .collect()
}

fn superseded(row: &Row<'_>) -> rusqlite::Result<SupersededPayment> {
    Ok(SupersededPayment {
        order_id: OrderId(row.get(0)?),
        t: EventTime::stored(row.get(1)?),
        payment: PaymentCells {
            payment_id: row.get(2)?,
            payment_method: row.get(3)?,
            card_last_four: row.get(4)?,
            payment_status: row.get(5)?,
            payment_datetime: row.get(6)?,
        },
    })
}
