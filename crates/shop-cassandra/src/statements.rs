//! All statements, prepared once. The keyspace is written as in `schema.cql` and replaced by the configured one.
//!
//! Records, and products with their reservations, are written by conditional statements, whose timestamps Cassandra chooses;
//! hints and lines of carts by plain statements, whose timestamps are bound values: those of hints follow from the record,
//! those of lines from the request. No table has both: they would be on two clocks.

use std::sync::Arc;

use scylla::client::execution_profile::ExecutionProfileHandle;
use scylla::policies::retry::DefaultRetryPolicy;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};

use ecom_shop_store::ReadGuarantee;
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

/// Writes the notice of an order, from the one that stands. Without the second condition it would create a row where there
/// is no such order.
pub(super) const SET_NOTICE: &str = "\
UPDATE ecom_store.shop_orders SET notice = ? WHERE order_id = ? IF notice = ? AND revision != NULL";

/// Reads an order.
pub(super) const ORDER: &str = "\
SELECT order_id, account, idempotency_key, fingerprint, customer_id, currency, total_minor, document, created_at, \
state, state_at, revision, attempt, due_at, detail, notice FROM ecom_store.shop_orders WHERE order_id = ?";

/// Reads every order.
pub(super) const ORDERS: &str = "\
SELECT order_id, account, idempotency_key, fingerprint, customer_id, currency, total_minor, document, created_at, \
state, state_at, revision, attempt, due_at, detail, notice FROM ecom_store.shop_orders";

/// Reads orders in the order of the token ring, those behind a token.
pub(super) const ORDERS_AFTER: &str = "\
SELECT TOKEN(order_id) AS place, order_id, account, idempotency_key, fingerprint, customer_id, currency, total_minor, \
document, created_at, state, state_at, revision, attempt, due_at, detail, notice FROM ecom_store.shop_orders \
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

/// Writes a product as a whole, from a version; null is that of a product that does not exist.
pub(super) const PUT_PRODUCT: &str = "\
UPDATE ecom_store.shop_products SET name = ?, price_minor = ?, currency = ?, on_hand = ?, reserved = ?, stocked = ?, \
version = ? WHERE sku = ? IF version = ?";

/// Writes the stock of a product, from a version, and with it what the other statements of its batch write.
pub(super) const CHANGE_STOCK: &str = "\
UPDATE ecom_store.shop_products SET on_hand = ?, reserved = ?, stocked = ?, version = ? WHERE sku = ? IF version = ?";

/// Writes a reservation, in a batch with `CHANGE_STOCK` only, whose condition is that of the batch.
pub(super) const PUT_RESERVATION: &str =
    "INSERT INTO ecom_store.shop_products (sku, order_id, quantity, state) VALUES (?, ?, ?, ?)";

/// Reads a product. `DISTINCT`, because a product without reservations has no row.
pub(super) const PRODUCT: &str = "\
SELECT DISTINCT sku, name, price_minor, currency, on_hand, reserved, stocked, version FROM ecom_store.shop_products \
WHERE sku = ?";

/// Reads products in the order of the token ring, from its beginning.
pub(super) const PRODUCTS: &str = "\
SELECT DISTINCT sku, name, price_minor, currency, on_hand, reserved, stocked, version FROM ecom_store.shop_products \
LIMIT ?";

/// Reads products in the order of the token ring, those behind one.
pub(super) const PRODUCTS_AFTER: &str = "\
SELECT DISTINCT sku, name, price_minor, currency, on_hand, reserved, stocked, version FROM ecom_store.shop_products \
WHERE TOKEN(sku) > TOKEN(?) LIMIT ?";

/// Reads the reservations that orders have of a product.
pub(super) const RESERVATIONS_OF: &str =
    "SELECT order_id, quantity, state FROM ecom_store.shop_products WHERE sku = ? AND order_id IN ?";

/// Reads every reservation.
pub(super) const RESERVATIONS: &str = "SELECT sku, order_id, quantity, state FROM ecom_store.shop_products";

/// Writes a line of a cart at the time of the request.
pub(super) const PUT_LINE: &str =
    "INSERT INTO ecom_store.shop_carts (customer_id, sku, quantity) VALUES (?, ?, ?) USING TIMESTAMP ?";

/// Removes a line of a cart as it was at a time.
pub(super) const REMOVE_LINE: &str =
    "DELETE FROM ecom_store.shop_carts USING TIMESTAMP ? WHERE customer_id = ? AND sku = ?";

/// Reads a cart with the times of its lines.
pub(super) const CART: &str = "\
SELECT sku, quantity, WRITETIME(quantity) AS written_at FROM ecom_store.shop_carts WHERE customer_id = ?";

/// Rows per page of records. A finished record has up to two null cells, and Cassandra logs a warning above 1,000
/// tombstones a page.
const PAGE: i32 = 400;
/// Rows per page of hints and reservations.
const PAGE_BRIEF: i32 = 4_000;

/// A statement that reads rows of one partition.
pub(super) struct ReadStatement {
    /// At `LOCAL_QUORUM`.
    committed: PreparedStatement,
    /// At `LOCAL_SERIAL`, which decides a write that is undecided.
    pub(super) linearizable: PreparedStatement,
}

impl ReadStatement {
    /// Returns the statement that reads with this guarantee.
    pub(super) fn with(&self, guarantee: ReadGuarantee) -> &PreparedStatement {
        match guarantee {
            ReadGuarantee::Linearizable => &self.linearizable,
            ReadGuarantee::Committed => &self.committed,
        }
    }
}

/// The prepared statements of a kind of record.
pub(super) struct RecordStatements {
    /// Conditional.
    pub(super) create: PreparedStatement,
    /// Conditional.
    pub(super) r#move: PreparedStatement,
    pub(super) one: ReadStatement,
    pub(super) all: PreparedStatement,
}

/// The prepared statements of the conditional batch that changes the stock of a product. The one that writes a reservation
/// has no condition of its own, and is executed in this batch only.
pub(super) struct ChangeStatements {
    stock: PreparedStatement,
    reservation: PreparedStatement,
    profile: ExecutionProfileHandle,
}

impl ChangeStatements {
    /// Returns the batch that changes the stock and this many reservations. The driver does not repeat it.
    pub(super) fn batch(&self, reservations: usize) -> Batch {
        // The first statement leads the batch to its node.
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, vec![self.stock.clone().into()]);
        (0..reservations).for_each(|_| batch.append_statement(self.reservation.clone()));
        batch.set_is_idempotent(false);
        batch.set_execution_profile_handle(Some(self.profile.clone()));
        batch
    }
}

/// The prepared statements of the inventory.
pub(super) struct InventoryStatements {
    /// Conditional.
    pub(super) put: PreparedStatement,
    /// Conditional.
    pub(super) change: ChangeStatements,
    pub(super) product: ReadStatement,
    pub(super) products: PreparedStatement,
    pub(super) products_after: PreparedStatement,
    pub(super) reservations_of: ReadStatement,
    pub(super) reservations: PreparedStatement,
}

/// The prepared statements of carts.
pub(super) struct CartStatements {
    pub(super) put_line: PreparedStatement,
    pub(super) remove_line: PreparedStatement,
    pub(super) cart: PreparedStatement,
}

/// The prepared statements.
pub(super) struct Statements {
    pub(super) orders: RecordStatements,
    pub(super) orders_after: PreparedStatement,
    /// Conditional.
    pub(super) set_notice: PreparedStatement,
    pub(super) payments: RecordStatements,
    pub(super) record_hint: PreparedStatement,
    pub(super) hints_before: PreparedStatement,
    pub(super) hints_due: PreparedStatement,
    pub(super) inventory: InventoryStatements,
    pub(super) carts: CartStatements,
}

impl Statements {
    /// Prepares every statement.
    pub(super) async fn prepare(store: &CassandraStore) -> Result<Self, StatementError> {
        let profile = serial_profile(store);
        let records = async |[create, r#move, one, all]: [&str; 4]| {
            Ok::<_, StatementError>(RecordStatements {
                create: conditional(store, create, &profile).await?,
                r#move: conditional(store, r#move, &profile).await?,
                one: read(store, one, &profile).await?,
                all: scan(store, all, PAGE).await?,
            })
        };
        Ok(Self {
            orders: records([CREATE_ORDER, MOVE_ORDER, ORDER, ORDERS]).await?,
            orders_after: scan(store, ORDERS_AFTER, PAGE).await?,
            set_notice: conditional(store, SET_NOTICE, &profile).await?,
            payments: records([CREATE_PAYMENT, MOVE_PAYMENT, PAYMENT, PAYMENTS]).await?,
            record_hint: store.prepare(RECORD_HINT).await?,
            hints_before: store.prepare(HINTS_BEFORE).await?,
            hints_due: scan(store, HINTS_DUE, PAGE_BRIEF).await?,
            inventory: InventoryStatements {
                put: conditional(store, PUT_PRODUCT, &profile).await?,
                change: ChangeStatements {
                    stock: store.prepare(CHANGE_STOCK).await?,
                    reservation: store.prepare(PUT_RESERVATION).await?,
                    profile: profile.clone(),
                },
                product: read(store, PRODUCT, &profile).await?,
                products: scan(store, PRODUCTS, PAGE).await?,
                products_after: scan(store, PRODUCTS_AFTER, PAGE).await?,
                reservations_of: read(store, RESERVATIONS_OF, &profile).await?,
                reservations: scan(store, RESERVATIONS, PAGE_BRIEF).await?,
            },
            carts: CartStatements {
                put_line: store.prepare(PUT_LINE).await?,
                remove_line: store.prepare(REMOVE_LINE).await?,
                cart: scan(store, CART, PAGE).await?,
            },
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

async fn read(
    store: &CassandraStore,
    cql: &str,
    profile: &ExecutionProfileHandle,
) -> Result<ReadStatement, StatementError> {
    let committed = store.prepare(cql).await?;
    let mut linearizable = committed.clone();
    linearizable.set_execution_profile_handle(Some(profile.clone()));
    linearizable.set_consistency(Consistency::LocalSerial);
    Ok(ReadStatement { committed, linearizable })
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

    use scylla::response::query_result::QueryResult;

    use super::*;
    use crate::keyspace;
    use ecom_store_cassandra::{ColumnKind, Schema};

    const ALL: [&str; 24] = [
        CREATE_ORDER,
        MOVE_ORDER,
        SET_NOTICE,
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
        PUT_PRODUCT,
        CHANGE_STOCK,
        PUT_RESERVATION,
        PRODUCT,
        PRODUCTS,
        PRODUCTS_AFTER,
        RESERVATIONS_OF,
        RESERVATIONS,
        PUT_LINE,
        REMOVE_LINE,
        CART,
    ];

    /// Those without a condition of their own in the conditional batch of `ChangeStatements`, which alone has them.
    const IN_CONDITIONAL_BATCH: [&str; 1] = [PUT_RESERVATION];
    /// The tables that are written plainly.
    const PLAIN: [&str; 2] = ["shop_lists", "shop_carts"];

    fn words(cql: &str) -> Vec<&str> {
        cql.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|word| !word.is_empty())
            .collect()
    }

    fn columns(table: &str, kind: ColumnKind) -> Vec<String> {
        let schema = Schema::read();
        let columns = schema.table(table).expect("a table of schema.cql").columns.clone().into_iter();
        columns.filter(|column| column.kind == kind).map(|column| column.name).collect()
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
                let is_name = ["ecom_store", "place", "written_at", &table.name].contains(&word);
                let is_column = table.columns.iter().any(|column| column.name == word);
                assert!(is_keyword || is_name || is_column, "{word:?} in {cql}");
            }
        }
    }

    #[test]
    fn a_table_is_written_conditionally_at_no_time_of_ours_or_plainly_at_ours_and_nothing_expires() {
        for cql in ALL {
            let has = |word| words(cql).contains(&word);
            let (is_write, is_plain) = (!cql.starts_with("SELECT"), PLAIN.into_iter().any(has));
            let is_in_batch = IN_CONDITIONAL_BATCH.contains(&cql);
            assert_eq!(has("IF"), is_write && !is_plain && !is_in_batch, "{cql}");
            assert_eq!(cql.contains("USING TIMESTAMP ?"), is_write && is_plain, "{cql}");
            for word in ["TTL", "COUNTER", "NOW", "BATCH"] {
                assert!(!has(word), "{word} in {cql}");
            }
            assert_eq!(has("USING"), has("TIMESTAMP"), "{cql}");
        }
    }

    #[test]
    fn the_batch_that_changes_a_stock_has_one_condition_and_it_is_on_the_version() {
        assert!(CHANGE_STOCK.ends_with("IF version = ?"));
        for cql in IN_CONDITIONAL_BATCH {
            assert!(words(cql).contains(&"shop_products") && !words(cql).contains(&"IF"), "{cql}");
            for column in columns("shop_products", ColumnKind::Static) {
                assert!(!words(cql).contains(&column.as_str()), "{column} in {cql}");
            }
        }
    }

    #[test]
    fn products_and_reservations_are_written_and_read_as_a_whole_and_a_change_writes_the_stock() {
        let in_stock = ["on_hand", "reserved", "stocked", "version"];
        for column in columns("shop_products", ColumnKind::Static) {
            let column = column.as_str();
            for cql in [PUT_PRODUCT, PRODUCT, PRODUCTS, PRODUCTS_AFTER] {
                assert!(words(cql).contains(&column), "{column} in {cql}");
            }
            assert_eq!(words(CHANGE_STOCK).contains(&column), in_stock.contains(&column), "{column}");
        }
        for column in columns("shop_products", ColumnKind::Regular) {
            let column = column.as_str();
            for cql in [PUT_RESERVATION, RESERVATIONS_OF, RESERVATIONS] {
                assert!(words(cql).contains(&column), "{column} in {cql}");
            }
        }
    }

    #[test]
    fn records_are_created_and_read_as_a_whole_and_moves_and_notices_write_what_changes() {
        for (table, whole, changed, written_apart) in [
            (
                "shop_orders",
                &[CREATE_ORDER, ORDER, ORDERS, ORDERS_AFTER][..],
                (MOVE_ORDER, &["state", "state_at", "revision", "attempt", "due_at", "detail"][..]),
                Some((SET_NOTICE, "notice")),
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
            for column in columns(table, ColumnKind::Regular) {
                let column = column.as_str();
                let is_apart = written_apart.is_some_and(|(_, apart)| apart == column);
                for cql in whole {
                    let is_named = !(is_apart && cql.starts_with("INSERT"));
                    assert_eq!(words(cql).contains(&column), is_named, "{column} in {cql}");
                }
                if let Some((cql, _)) = written_apart {
                    let set = cql.split_once(" WHERE ").expect("an update").0;
                    assert_eq!(words(set).contains(&column), is_apart, "{column} in {cql}");
                }
                assert_eq!(words(changed.0).contains(&column), changed.1.contains(&column), "{column}");
            }
        }
    }

    /// On a single node there is but one coordinator: this says something on several.
    #[tokio::test]
    async fn two_processes_send_the_conditional_writes_and_serial_reads_of_a_partition_to_one_node() {
        let Some(settings) = keyspace::created("coordinator").await else { return };
        let mut processes = Vec::new();
        for _ in 0..2 {
            let store = CassandraStore::connect(&settings).await.unwrap();
            processes.push((Statements::prepare(&store).await.unwrap(), store));
        }
        let mut coordinators = BTreeSet::new();
        for id in 0_i64..50 {
            let (mut of_record, mut of_product) = (BTreeSet::new(), BTreeSet::new());
            let sku = id.to_string();
            for (Statements { orders, inventory, .. }, store) in &processes {
                let session = store.session();
                let note = |of: &mut BTreeSet<_>, response: QueryResult| {
                    of.insert(response.request_coordinator().node().host_id);
                };
                for _ in 0..3 {
                    let values = ("placed", 1_i64, 1_i64, 0_i64, None::<i64>, None::<&str>, id, 0_i64);
                    note(&mut of_record, session.execute_unpaged(&orders.r#move, values).await.unwrap());
                    let record = session.execute_unpaged(&orders.one.linearizable, (id,)).await;
                    note(&mut of_record, record.unwrap());
                    let stock = (1_i64, 0_i64, 1_i64, 2_i64, &sku, 1_i64);
                    let batch = (stock, (&sku, 1_i64, 1_i64, "sold"), (&sku, 2_i64, 1_i64, "sold"));
                    note(&mut of_product, session.batch(&inventory.change.batch(2), batch).await.unwrap());
                    let product = ("A", 1_i64, "USD", 1_i64, 0_i64, 1_i64, 2_i64, &sku, None::<i64>);
                    note(&mut of_product, session.execute_unpaged(&inventory.put, product).await.unwrap());
                    let product = session.execute_unpaged(&inventory.product.linearizable, (&sku,)).await;
                    note(&mut of_product, product.unwrap());
                    let reservations = &inventory.reservations_of.linearizable;
                    let reservations = session.execute_unpaged(reservations, (&sku, vec![1_i64])).await;
                    note(&mut of_product, reservations.unwrap());
                }
            }
            assert_eq!((of_record.len(), of_product.len()), (1, 1), "{id}");
            coordinators.extend(of_record);
            coordinators.extend(of_product);
        }
        println!("50 orders and 50 products have {} coordinators", coordinators.len());
        let session = processes[0].1.session();
        session.query_unpaged(format!("DROP KEYSPACE {}", settings.keyspace), ()).await.unwrap();
    }
}
