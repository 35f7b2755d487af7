//! Cassandra: the store as its readers see it, and the raw limits of writing its fact table.

use crate::arm::Kind;
use crate::published::{Order, Payment, body};
use anyhow::{Context, Result};
use bytes::Bytes;
use ecom_store_cassandra::{CassandraSettings, CassandraStore};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use scylla::client::{session::Session, session_builder::SessionBuilder};
use scylla::policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::serialize::row::SerializeRow;
use scylla::statement::Statement;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Write timestamp of the rows that this program writes itself.
pub const T: i64 = 1_700_000_000_000_000;

/// Events in a request of several statements; above 10 partitions Cassandra logs a warning.
const GROUP: usize = 10;

impl<'a> Order<'a> {
    fn values(&self, t: i64) -> impl SerializeRow + use<'a> {
        let (address, status, date) = (self.shipping_address, self.order_status, self.creation_date);
        (self.order_id, self.customer_id, self.item, self.quantity, self.price, address, status, date, t)
    }
}

impl<'a> Payment<'a> {
    fn values(&self, t: i64) -> impl SerializeRow + use<'a> {
        let (method, status, at) = (self.payment_method, self.payment_status, self.payment_datetime);
        (t, self.payment_id, method, self.card_last_four, status, at, self.order_id)
    }
}

type Text<'r> = Option<&'r str>;
type Slot<'r> = (Option<i64>, Option<i64>, Text<'r>, Text<'r>, Text<'r>, Text<'r>, Option<i64>);
type GroupSlot<'r> = (i64, Option<i64>, Option<i64>, Text<'r>, Text<'r>, Text<'r>, Text<'r>, Option<i64>);

/// Returns Cassandra's contact points.
pub fn nodes() -> Result<String> {
    std::env::var("CASSANDRA_CONTACT_POINTS").context("CASSANDRA_CONTACT_POINTS is not set")
}

/// Opens a session in a keyspace of the nodes that the environment names.
pub async fn session(keyspace: &str) -> Result<Session> {
    Ok(SessionBuilder::new().known_nodes(nodes()?.split(',')).use_keyspace(keyspace, false).build().await?)
}

/// Returns the requests that each node got from the store of a running binary, over the connections that are open.
pub async fn requests() -> Result<Vec<u64>> {
    let session = SessionBuilder::new().known_nodes(nodes()?.split(',')).build().await?;
    let mut requests = Vec::new();
    for node in session.get_cluster_state().get_nodes_info() {
        let mut statement = Statement::new("SELECT request_count, client_options FROM system_views.clients");
        // The table is that of the node that is asked.
        let node = NodeIdentifier::HostId(node.host_id);
        statement.set_load_balancing_policy(Some(SingleTargetLoadBalancingPolicy::new(node, None)));
        let rows = session.query_unpaged(statement, ()).await?.into_rows_result()?;
        let mut sum = 0;
        for row in rows.rows::<(i64, HashMap<String, String>)>()? {
            let (count, options) = row?;
            if options.get("APPLICATION_NAME").is_some_and(|name| name == "ecom-store-cassandra") {
                sum += count.cast_unsigned();
            }
        }
        requests.push(sum);
    }
    Ok(requests)
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
    select_group: PreparedStatement,
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
        let select_group = prepare(
            "SELECT order_id, customer_id, payment_id, payment_method, card_last_four, payment_status, \
             payment_datetime, WRITETIME(payment_id) FROM orders_payments_facts WHERE order_id IN ?",
        )
        .await?;
        let update = prepare(
            "UPDATE orders_payments_facts USING TIMESTAMP ? SET payment_id = ?, payment_method = ?, \
             card_last_four = ?, payment_status = ?, payment_datetime = ? WHERE order_id = ?",
        )
        .await?;
        Ok(Arc::new(Self { session, insert, select, select_group, update }))
    }

    /// Decodes events and writes them in one request; payments, those whose order is there.
    async fn write_group(&self, kind: Kind, bodies: &[Bytes], t: i64) -> Result<()> {
        let batch = |statement: &PreparedStatement, count: usize| {
            let mut batch = Batch::new(BatchType::Unlogged);
            batch.set_is_idempotent(true);
            (0..count).for_each(|_| batch.append_statement(statement.clone()));
            batch
        };
        if kind == Kind::Order {
            let orders = bodies.iter().map(|body| serde_json::from_slice::<Order<'_>>(body));
            let values = orders.map(|order| order.map(|order| order.values(t)));
            let values = values.collect::<Result<Vec<_>, _>>()?;
            self.session.batch(&batch(&self.insert, values.len()), values).await?;
            return Ok(());
        }
        let payments = bodies.iter().map(|body| serde_json::from_slice::<Payment<'_>>(body));
        let payments = payments.collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<i64> = payments.iter().map(|payment| payment.order_id).collect();
        let found = self.session.execute_unpaged(&self.select_group, (ids,)).await?.into_rows_result()?;
        let found = found.rows::<GroupSlot<'_>>()?.map(|row| Ok(row?.0)).collect::<Result<HashSet<_>>>()?;
        let there = payments.iter().filter(|payment| found.contains(&payment.order_id));
        let values: Vec<_> = there.map(|payment| payment.values(t)).collect();
        self.session.batch(&batch(&self.update, values.len()), values).await?;
        Ok(())
    }

    /// Decodes an event and writes it; a payment, only if its order is there.
    pub async fn write(&self, kind: Kind, body: &[u8], t: i64) -> Result<()> {
        if kind == Kind::Order {
            let o: Order<'_> = serde_json::from_slice(body)?;
            self.session.execute_unpaged(&self.insert, o.values(t)).await?;
            return Ok(());
        }
        let p: Payment<'_> = serde_json::from_slice(body)?;
        let found = self.session.execute_unpaged(&self.select, (p.order_id,)).await?.into_rows_result()?;
        if found.maybe_first_row::<Slot<'_>>()?.is_some() {
            self.session.execute_unpaged(&self.update, p.values(t)).await?;
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

/// The same with [`GROUP`] events a request, and as many events at once.
pub async fn write_grouped(
    keyspace: &str,
    kind: Kind,
    ids: impl Iterator<Item = i64>,
    done: impl Fn(),
) -> Result<()> {
    let facts = Facts::open(keyspace).await?;
    let write = async |ids: Vec<i64>| {
        let bodies: Vec<_> = ids.iter().map(|id| body(kind, *id)).collect();
        facts.write_group(kind, &bodies, T).await?;
        ids.iter().for_each(|_| done());
        Ok(())
    };
    let groups = stream::iter(ids).chunks(GROUP).map(Ok);
    groups.try_for_each_concurrent(kind.window() / GROUP, write).await
}
