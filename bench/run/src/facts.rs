//! Cassandra: the fact table, the limits of writing it, and the check of every cell.

use crate::Progress;
use crate::arm::Kind;
use crate::bodies::{self, body};
use anyhow::{Context, Result, ensure};
use futures_util::stream::{self, TryStreamExt};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use serde::Deserialize;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// Write timestamp of the rows that this program writes itself.
pub const T: i64 = 1_700_000_000_000_000;
/// Orders written at once by `fill`.
const WINDOW: usize = 256;

#[derive(Deserialize)]
struct Order<'a> {
    order_id: i64,
    customer_id: i64,
    #[serde(borrow)]
    item: Cow<'a, str>,
    quantity: i64,
    price: f64,
    #[serde(borrow)]
    shipping_address: Cow<'a, str>,
    #[serde(borrow)]
    order_status: Cow<'a, str>,
    #[serde(borrow)]
    creation_date: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Payment<'a> {
    payment_id: i64,
    order_id: i64,
    #[serde(borrow)]
    payment_method: Cow<'a, str>,
    #[serde(borrow)]
    card_last_four: Cow<'a, str>,
    #[serde(borrow)]
    payment_status: Cow<'a, str>,
    #[serde(borrow)]
    payment_datetime: Cow<'a, str>,
}

type Slot<'r> = (
    Option<i64>,
    Option<i64>,
    Option<&'r str>,
    Option<&'r str>,
    Option<&'r str>,
    Option<&'r str>,
    Option<i64>,
);

/// Opens a session with the nodes that the environment names.
pub async fn session() -> Result<Session> {
    let nodes = std::env::var("CASSANDRA_CONTACT_POINTS").context("CASSANDRA_CONTACT_POINTS is not set")?;
    Ok(SessionBuilder::new().known_nodes(nodes.split(',')).build().await?)
}

/// Returns the address at which a node says it can be reached: clients connect there, whatever address
/// they found it by.
pub async fn announced() -> Result<IpAddr> {
    let local = "SELECT rpc_address FROM system.local WHERE key = 'local'";
    let answer = session().await?.query_unpaged(local, ()).await?.into_rows_result()?;
    Ok(answer.single_row::<(IpAddr,)>()?.0)
}

/// Creates the keyspace and the fact table.
pub async fn schema(keyspace: &str) -> Result<()> {
    let session = session().await?;
    let replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
    let create = format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication}");
    session.query_unpaged(create, ()).await?;
    let columns = "order_id bigint PRIMARY KEY, customer_id bigint, item text, quantity bigint, price double, \
                   shipping_address text, order_status text, creation_date text, payment_id bigint, \
                   payment_method text, card_last_four text, payment_status text, payment_datetime text";
    let create = format!("CREATE TABLE IF NOT EXISTS {keyspace}.orders_payments_facts ({columns})");
    session.query_unpaged(create, ()).await?;
    Ok(())
}

/// Drops the keyspace.
pub async fn drop_keyspace(keyspace: &str) -> Result<()> {
    session().await?.query_unpaged(format!("DROP KEYSPACE IF EXISTS {keyspace}"), ()).await?;
    Ok(())
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
        let session = session().await?;
        session.use_keyspace(keyspace, false).await?;
        let prepare = async |text: &str| -> Result<PreparedStatement> {
            let mut statement = session.prepare(text).await?;
            statement.set_consistency(Consistency::LocalQuorum);
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

    /// Decodes an order and writes it.
    pub async fn order(&self, body: &[u8], t: i64) -> Result<()> {
        let order: Order<'_> = serde_json::from_slice(body)?;
        let values = (
            order.order_id,
            order.customer_id,
            order.item.as_ref(),
            order.quantity,
            order.price,
            order.shipping_address.as_ref(),
            order.order_status.as_ref(),
            order.creation_date.as_ref(),
            t,
        );
        self.session.execute_unpaged(&self.insert, values).await?;
        Ok(())
    }

    /// Decodes a payment, looks for its order and writes it there; returns whether there was one.
    pub async fn payment(&self, body: &[u8], t: i64) -> Result<bool> {
        let payment: Payment<'_> = serde_json::from_slice(body)?;
        let found = self.session.execute_unpaged(&self.select, (payment.order_id,)).await?;
        let found = found.into_rows_result()?;
        if found.maybe_first_row::<Slot<'_>>()?.is_none() {
            return Ok(false);
        }
        let values = (
            t,
            payment.payment_id,
            payment.payment_method.as_ref(),
            payment.card_last_four.as_ref(),
            payment.payment_status.as_ref(),
            payment.payment_datetime.as_ref(),
            payment.order_id,
        );
        self.session.execute_unpaged(&self.update, values).await?;
        Ok(true)
    }

    /// Returns true if the row shows an event of this kind.
    pub async fn shows(&self, kind: Kind, id: i64) -> Result<bool> {
        let found = self.session.execute_unpaged(&self.select, (id,)).await?.into_rows_result()?;
        let row = found.maybe_first_row::<Slot<'_>>()?;
        Ok(row.is_some_and(|(customer, payment, ..)| match kind {
            Kind::Order => customer.is_some(),
            Kind::Payment | Kind::DeadLetter => payment.is_some(),
        }))
    }
}

/// Writes orders 1 to `n`, leaving out each `missing`-th.
pub async fn fill(keyspace: &str, n: i64, missing: i64) -> Result<()> {
    let facts = Facts::open(keyspace).await?;
    let wanted = (1..=n).filter(|id| !bodies::is_missing(*id, missing)).map(Ok);
    let write = async |id| facts.order(&body(Kind::Order, id), T).await;
    stream::iter(wanted).try_for_each_concurrent(WINDOW, write).await
}

/// R2: decodes and inserts.
pub async fn insert(keyspace: &str, n: i64, window: usize) -> Result<()> {
    let (facts, progress) = (Facts::open(keyspace).await?, Progress::new(n.unsigned_abs()));
    let write = async |id| {
        facts.order(&body(Kind::Order, id), T).await?;
        progress.add_one();
        Ok(())
    };
    stream::iter((1..=n).map(Ok)).try_for_each_concurrent(window, write).await
}

/// R3: decodes, looks for the order, updates.
pub async fn update(keyspace: &str, n: i64, window: usize) -> Result<()> {
    let (facts, progress) = (Facts::open(keyspace).await?, Progress::new(n.unsigned_abs()));
    let write = async |id| {
        facts.payment(&body(Kind::Payment, id), T).await?;
        progress.add_one();
        anyhow::Ok(())
    };
    stream::iter((1..=n).map(Ok)).try_for_each_concurrent(window, write).await
}

/// A row of the fact table.
#[derive(scylla::DeserializeRow, PartialEq, Debug)]
struct Row {
    order_id: i64,
    customer_id: Option<i64>,
    item: Option<String>,
    quantity: Option<i64>,
    price: Option<f64>,
    shipping_address: Option<String>,
    order_status: Option<String>,
    creation_date: Option<String>,
    payment_id: Option<i64>,
    payment_method: Option<String>,
    card_last_four: Option<String>,
    payment_status: Option<String>,
    payment_datetime: Option<String>,
}

/// Compares every cell of every row with what its id says, and counts the rows.
pub async fn check(keyspace: &str, kind: Kind, n: i64, missing: i64) -> Result<()> {
    let session = session().await?;
    let query = format!(
        "SELECT order_id, customer_id, item, quantity, price, shipping_address, order_status, creation_date, \
         payment_id, payment_method, card_last_four, payment_status, payment_datetime \
         FROM {keyspace}.orders_payments_facts"
    );
    let mut rows = session.query_iter(query, ()).await?.rows_stream::<Row>()?;
    let mut count = 0;
    while let Some(row) = rows.try_next().await? {
        let wanted = wanted(kind, row.order_id);
        ensure!(row == wanted, "row {} is {row:?}, should be {wanted:?}", row.order_id);
        count += 1;
    }
    let expected = (1..=n).filter(|id| !bodies::is_missing(*id, missing)).count();
    ensure!(count == expected, "{count} rows, should be {expected}");
    Ok(())
}

fn wanted(kind: Kind, id: i64) -> Row {
    let text = |text: &str| Some(text.to_owned());
    let paid = kind != Kind::Order;
    Row {
        order_id: id,
        customer_id: Some(bodies::customer(id)),
        item: text("Laptop"),
        quantity: Some(3),
        price: Some(412.73),
        shipping_address: Some(bodies::address(id)),
        order_status: text("Shipped"),
        creation_date: text("2024-01-21"),
        payment_id: paid.then_some(id + 1_000),
        payment_method: paid.then(|| "Credit Card".to_owned()),
        card_last_four: paid.then(|| "1234".to_owned()),
        payment_status: paid.then(|| "Completed".to_owned()),
        payment_datetime: paid.then(|| "2024-01-21T10:01:30Z".to_owned()),
    }
}
