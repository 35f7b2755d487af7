//! Cassandra: the store as its readers see it, and the raw limits of writing its fact table.

use crate::{arm::Kind, published::body};
use anyhow::{Context, Result};
use ecom_store_cassandra::{CassandraSettings, CassandraStore};
use futures_util::stream::{self, TryStreamExt};
use scylla::client::{session::Session, session_builder::SessionBuilder};
use scylla::statement::prepared::PreparedStatement;
use serde::Deserialize;
use std::sync::Arc;

/// Write timestamp of the rows that this program writes itself.
pub const T: i64 = 1_700_000_000_000_000;

/// An order; the bodies have no escapes, so that texts can be borrowed.
#[derive(Deserialize)]
struct Order<'a> {
    order_id: i64,
    customer_id: i64,
    item: &'a str,
    quantity: i64,
    price: f64,
    shipping_address: &'a str,
    order_status: &'a str,
    creation_date: &'a str,
}

#[derive(Deserialize)]
struct Payment<'a> {
    payment_id: i64,
    order_id: i64,
    payment_method: &'a str,
    card_last_four: &'a str,
    payment_status: &'a str,
    payment_datetime: &'a str,
}

type Text<'r> = Option<&'r str>;
type Slot<'r> = (Option<i64>, Option<i64>, Text<'r>, Text<'r>, Text<'r>, Text<'r>, Option<i64>);

/// Returns Cassandra's contact points.
pub fn nodes() -> Result<String> {
    std::env::var("CASSANDRA_CONTACT_POINTS").context("CASSANDRA_CONTACT_POINTS is not set")
}

/// Opens a session in a keyspace of the nodes that the environment names.
pub async fn session(keyspace: &str) -> Result<Session> {
    Ok(SessionBuilder::new().known_nodes(nodes()?.split(',')).use_keyspace(keyspace, false).build().await?)
}

/// Opens the store there.
pub async fn store(keyspace: &str) -> Result<CassandraStore> {
    let contact_points = nodes()?.split(',').map(str::to_owned).collect();
    let keyspace = keyspace.to_owned();
    let settings = CassandraSettings { contact_points, keyspace, ..CassandraSettings::default() };
    Ok(CassandraStore::connect(&settings).await?)
}

/// The fact table's statements, prepared.
pub struct Facts {
    session: Session,
    insert: PreparedStatement,
    select: PreparedStatement,
    update: PreparedStatement,
}

impl Facts {
    /// Connects and prepares the statements.
    pub async fn open(keyspace: &str) -> Result<Arc<Self>> {
        let session = session(keyspace).await?;
        let prepare = async |text: &str| -> Result<PreparedStatement> {
            let mut statement = session.prepare(text).await?;
            statement.set_is_idempotent(true);
            Ok(statement)
        };
        let insert = prepare(
            "INSERT INTO orders_payments_facts (order_id, customer_id, item, quantity, price, shipping_address, \
             order_status, creation_date) VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
        )
        .await?;
        let select = prepare(
            "SELECT customer_id, payment_id, payment_method, card_last_four, payment_status, payment_datetime, \
             WRITETIME(payment_id) FROM orders_payments_facts WHERE order_id = ?",
        )
        .await?;
        let update = prepare(
            "UPDATE orders_payments_facts USING TIMESTAMP ? SET payment_id = ?, payment_method = ?, \
             card_last_four = ?, payment_status = ?, payment_datetime = ? WHERE order_id = ?",
        )
        .await?;
        Ok(Arc::new(Self { session, insert, select, update }))
    }

    /// Decodes an event and writes it; a payment, only if its order is there.
    pub async fn write(&self, kind: Kind, body: &[u8], t: i64) -> Result<()> {
        if kind == Kind::Order {
            let o: Order<'_> = serde_json::from_slice(body)?;
            let (address, status, date) = (o.shipping_address, o.order_status, o.creation_date);
            let values = (o.order_id, o.customer_id, o.item, o.quantity, o.price, address, status, date, t);
            self.session.execute_unpaged(&self.insert, values).await?;
            return Ok(());
        }
        let p: Payment<'_> = serde_json::from_slice(body)?;
        let found = self.session.execute_unpaged(&self.select, (p.order_id,)).await?.into_rows_result()?;
        if found.maybe_first_row::<Slot<'_>>()?.is_some() {
            let (method, status, at) = (p.payment_method, p.payment_status, p.payment_datetime);
            let values = (t, p.payment_id, method, p.card_last_four, status, at, p.order_id);
            self.session.execute_unpaged(&self.update, values).await?;
        }
        Ok(())
    }
}

/// Writes the events with these ids, as many at once as their kind has, and calls `done` after each.
pub async fn write(
    keyspace: &str,
    kind: Kind,
    ids: impl Iterator<Item = i64>,
    done: impl Fn(),
) -> Result<()> {
    let facts = Facts::open(keyspace).await?;
    let write = async |id| {
        facts.write(kind, &body(kind, id), T).await?;
        done();
        Ok(())
    };
    stream::iter(ids.map(Ok)).try_for_each_concurrent(kind.window(), write).await
}
