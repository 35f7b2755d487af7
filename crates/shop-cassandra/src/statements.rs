//! All statements, prepared once. The keyspace is written as in `schema.cql` and replaced by the configured one.
//!
//! Records are written by conditional statements, whose timestamps Cassandra chooses; hints by plain statements, whose
//! timestamps are bound values that follow from the record. No table has both: they would be on two clocks.

use std::sync::Arc;

use scylla::client::execution_profile::ExecutionProfileHandle;
use scylla::policies::retry::DefaultRetryPolicy;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};

use ecom_store_cassandra::{CassandraStore, StatementError};

/// Creates an order, unless one with its id exists. Answers with the row that exists.
pub(super) const CREATE_ORDER: &str = "\
INSERT INTO ecom_store.shop_orders (order_id, account, idempotency_key, fingerprint, customer_id, currency, \
total_minor, document, created_at, state, state_at, revision, attempt, due_at, detail) \
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS";

/// Moves an order from a revision.
pub(super) const MOVE_ORDER: &str = "\
UPDATE ecom_store.shop_orders SET state = ?, state_at = ?, revision = ?, attempt = ?, due_at = ?, detail = ? \
WHERE order_id = ? IF revision = ?";

/// Reads an order.
pub(super) const ORDER: &str = "\
SELECT order_id, account, idempotency_key, fingerprint, customer_id, currency, total_minor, document, created_at, \
state, state_at, revision, attempt, due_at, detail FROM ecom_store.shop_orders WHERE order_id = ?";

/// Reads every order.
pub(super) const ORDERS: &str = "\
SELECT order_id, account, idempotency_key, fingerprint, customer_id, currency, total_minor, document, created_at, \
state, state_at, revision, attempt, due_at, detail FROM ecom_store.shop_orders";

/// Reads orders in the order of the token ring, those behind a token.
pub(super) const ORDERS_AFTER: &str = "\
SELECT TOKEN(order_id) AS place, order_id, account, idempotency_key, fingerprint, customer_id, currency, total_minor, \
document, created_at, state, state_at, revision, attempt, due_at, detail FROM ecom_store.shop_orders \
WHERE TOKEN(order_id) > ? LIMIT ?";

/// Creates a payment, unless one with its id exists. Answers with the row that exists.
pub(super) const CREATE_PAYMENT: &str = "\
INSERT INTO ecom_store.shop_payments (payment_id, account, idempotency_key, fingerprint, order_id, attempt, sender, \
receiver, payment_method, card_last_four, amount_minor, currency, created_at, state, state_at, processing_at, \
revision, due_at, error_message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS";

/// Moves a payment from a revision.
pub(super) const MOVE_PAYMENT: &str = "\
UPDATE ecom_store.shop_payments SET state = ?, state_at = ?, processing_at = ?, revision = ?, due_at = ?, \
error_message = ? WHERE payment_id = ? IF revision = ?";

/// Reads a payment.
pub(super) const PAYMENT: &str = "\
SELECT payment_id, account, idempotency_key, fingerprint, order_id, attempt, sender, receiver, payment_method, \
card_last_four, amount_minor, currency, created_at, state, state_at, processing_at, revision, due_at, error_message \
FROM ecom_store.shop_payments WHERE payment_id = ?";

/// Reads every payment.
pub(super) const PAYMENTS: &str = "\
SELECT payment_id, account, idempotency_key, fingerprint, order_id, attempt, sender, receiver, payment_method, \
card_last_four, amount_minor, currency, created_at, state, state_at, processing_at, revision, due_at, error_message \
FROM ecom_store.shop_payments";

/// Writes a hint at a time that follows from the record it points to.
pub(super) const RECORD_HINT: &str =
    "INSERT INTO ecom_store.shop_lists (list, t, id) VALUES (?, ?, ?) USING TIMESTAMP ?";

/// Reads the newest hints of several lists together, those before a place.
pub(super) const HINTS_BEFORE: &str = "\
SELECT t, id FROM ecom_store.shop_lists WHERE list IN ? AND (t, id) < (?, ?) ORDER BY t DESC, id DESC \
PER PARTITION LIMIT ? LIMIT ?";

/// Reads the hints of a list of what is due, after a time and no later than another.
pub(super) const HINTS_DUE: &str = "SELECT id FROM ecom_store.shop_lists WHERE list = ? AND t > ? AND t <= ?";

/// Rows per page of records. A finished record has up to two null cells, and Cassandra logs a warning above 1,000
/// tombstones a page.
const PAGE: i32 = 400;
/// Rows per page of hints.
const PAGE_HINTS: i32 = 4_000;

/// The prepared statements of a kind of record.
pub(super) struct RecordStatements {
    /// Conditional.
    pub(super) create: PreparedStatement,
    /// Conditional.
    pub(super) r#move: PreparedStatement,
    /// Reads a record at `LOCAL_QUORUM`.
    pub(super) committed: PreparedStatement,
    /// Reads a record at `LOCAL_SERIAL`, which decides a write that is undecided.
    pub(super) linearizable: PreparedStatement,
    pub(super) all: PreparedStatement,
}

/// The prepared statements.
pub(super) struct Statements {
    pub(super) orders: RecordStatements,
    pub(super) orders_after: PreparedStatement,
    pub(super) payments: RecordStatements,
    pub(super) record_hint: PreparedStatement,
    pub(super) hints_before: PreparedStatement,
    pub(super) hints_due: PreparedStatement,
}

impl Statements {
    /// Prepares every statement.
    pub(super) async fn prepare(store: &CassandraStore) -> Result<Self, StatementError> {
        let profile = serial_profile(store);
        let records = async |[create, r#move, one, all]: [&str; 4]| {
            let committed = store.prepare(one).await?;
            Ok::<_, StatementError>(RecordStatements {
                create: conditional(store, create, &profile).await?,
                r#move: conditional(store, r#move, &profile).await?,
                linearizable: linearizable(&committed, &profile),
                committed,
                all: scan(store, all, PAGE).await?,
            })
        };
        Ok(Self {
            orders: records([CREATE_ORDER, MOVE_ORDER, ORDER, ORDERS]).await?,
            orders_after: scan(store, ORDERS_AFTER, PAGE).await?,
            payments: records([CREATE_PAYMENT, MOVE_PAYMENT, PAYMENT, PAYMENTS]).await?,
            record_hint: store.prepare(RECORD_HINT).await?,
            hints_before: store.prepare(HINTS_BEFORE).await?,
            hints_due: scan(store, HINTS_DUE, PAGE_HINTS).await?,
        })
    }
}

/// Returns the execution profile of conditional statements and serial reads: the session's, but all requests for a record
/// go to one node, whichever process sends them. There they take turns; at several nodes each would make the others' rounds
/// fail (CASSANDRA-15746).
fn serial_profile(store: &CassandraStore) -> ExecutionProfileHandle {
    let of_session = store.session().get_default_execution_profile_handle().pointee_to_builder();
    of_session
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .load_balancing_policy(store.first_replica_policy())
        .build()
        .into_handle()
}

/// Prepares a conditional statement. The driver must not repeat it: the answer to the repetition would be about the row
/// that the first execution wrote.
async fn conditional(
    store: &CassandraStore,
    cql: &str,
    profile: &ExecutionProfileHandle,
) -> Result<PreparedStatement, StatementError> {
    let mut statement = store.prepare(cql).await?;
    statement.set_is_idempotent(false);
    // An answer has other columns where the statement was applied than where it was not.
    statement.set_use_cached_result_metadata(false);
    statement.set_execution_profile_handle(Some(profile.clone()));
    Ok(statement)
}

fn linearizable(committed: &PreparedStatement, profile: &ExecutionProfileHandle) -> PreparedStatement {
    let mut statement = committed.clone();
    statement.set_execution_profile_handle(Some(profile.clone()));
    statement.set_consistency(Consistency::LocalSerial);
    statement
}

async fn scan(
    store: &CassandraStore,
    cql: &str,
    page_size: i32,
) -> Result<PreparedStatement, StatementError> {
    let mut statement = store.prepare(cql).await?;
    statement.set_page_size(page_size);
    // A page that fails would fail the whole scan, and callers cannot resume one: here, and only here, the driver retries.
    statement.set_retry_policy(Some(Arc::new(DefaultRetryPolicy::new())));
    Ok(statement)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::keyspace;
    use ecom_store_cassandra::{ColumnKind, Schema};

    const ALL: [&str; 12] = [
        CREATE_ORDER,
        MOVE_ORDER,
        ORDER,
        ORDERS,
        ORDERS_AFTER,
        CREATE_PAYMENT,
        MOVE_PAYMENT,
        PAYMENT,
        PAYMENTS,
        RECORD_HINT,
        HINTS_BEFORE,
        HINTS_DUE,
    ];

    fn words(cql: &str) -> Vec<&str> {
        cql.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|word| !word.is_empty())
            .collect()
    }

    fn regular_columns(table: &str) -> Vec<String> {
        let schema = Schema::read();
        let columns = schema.table(table).expect("a table of schema.cql").columns.clone().into_iter();
        columns.filter(|column| column.kind == ColumnKind::Regular).map(|column| column.name).collect()
    }

    #[test]
    fn statements_name_only_tables_and_columns_of_the_schema() {
        let schema = Schema::read();
        for cql in ALL {
            let tables: Vec<_> =
                schema.tables.iter().filter(|table| words(cql).contains(&table.name.as_str())).collect();
            let [table] = tables[..] else { panic!("not one table: {cql}") };
            assert!(!cql.contains('*'), "{cql}");
            for word in words(cql) {
                let is_keyword = word.bytes().all(|b| b.is_ascii_uppercase());
                let is_name = ["ecom_store", "place", &table.name].contains(&word);
                let is_column = table.columns.iter().any(|column| column.name == word);
                assert!(is_keyword || is_name || is_column, "{word:?} in {cql}");
            }
        }
    }

    #[test]
    fn records_are_written_conditionally_at_no_time_of_ours_and_hints_plainly_at_theirs_and_none_expires() {
        for cql in ALL {
            let has = |word| words(cql).contains(&word);
            let (is_write, is_hint) = (!cql.starts_with("SELECT"), has("shop_lists"));
            assert_eq!(has("IF"), is_write && !is_hint, "{cql}");
            assert_eq!(cql.contains("USING TIMESTAMP ?"), is_write && is_hint, "{cql}");
            for word in ["TTL", "COUNTER", "NOW", "BATCH"] {
                assert!(!has(word), "{word} in {cql}");
            }
            assert_eq!(has("USING"), has("TIMESTAMP"), "{cql}");
        }
    }

    #[test]
    fn records_are_created_and_read_as_a_whole_and_a_move_writes_what_changes() {
        for (table, whole, changed, not_ours) in [
            (
                "shop_orders",
                &[CREATE_ORDER, ORDER, ORDERS, ORDERS_AFTER][..],
                (MOVE_ORDER, &["state", "state_at", "revision", "attempt", "due_at", "detail"][..]),
                Some("confirmation"),
            ),
            (
                "shop_payments",
                &[CREATE_PAYMENT, PAYMENT, PAYMENTS][..],
                (
                    MOVE_PAYMENT,
                    &["state", "state_at", "processing_at", "revision", "due_at", "error_message"][..],
                ),
                None,
            ),
        ] {
            for column in regular_columns(table) {
                let column = column.as_str();
                for cql in whole {
                    assert_eq!(words(cql).contains(&column), Some(column) != not_ours, "{column} in {cql}");
                }
                assert_eq!(words(changed.0).contains(&column), changed.1.contains(&column), "{column}");
            }
        }
    }

    /// On a single node there is but one coordinator: this says something on several.
    #[tokio::test]
    async fn two_processes_send_the_conditional_writes_and_serial_reads_of_a_record_to_one_node() {
        let Some(settings) = keyspace::created("coordinator").await else { return };
        let mut processes = Vec::new();
        for _ in 0..2 {
            let store = CassandraStore::connect(&settings).await.unwrap();
            processes.push((Statements::prepare(&store).await.unwrap(), store));
        }
        let mut coordinators = BTreeSet::new();
        for id in 0_i64..50 {
            let mut of_record = BTreeSet::new();
            for (Statements { orders, .. }, store) in &processes {
                let session = store.session();
                for _ in 0..3 {
                    let values = ("placed", 1_i64, 1_i64, 0_i64, None::<i64>, None::<&str>, id, 0_i64);
                    let answer = session.execute_unpaged(&orders.r#move, values).await.unwrap();
                    of_record.insert(answer.request_coordinator().node().host_id);
                    let read = session.execute_unpaged(&orders.linearizable, (id,)).await.unwrap();
                    of_record.insert(read.request_coordinator().node().host_id);
                }
            }
            assert_eq!(of_record.len(), 1, "order {id}");
            coordinators.extend(of_record);
        }
        println!("50 orders have {} coordinators", coordinators.len());
        let session = processes[0].1.session();
        session.query_unpaged(format!("DROP KEYSPACE {}", settings.keyspace), ()).await.unwrap();
    }
}
