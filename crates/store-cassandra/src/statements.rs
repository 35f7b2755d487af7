//! All statements, prepared once.
//!
//! The keyspace is written as in `schema.cql` and replaced by the configured one. Every write timestamp is a
//! bound value, so that every attempt of a write has the same one: all statements are idempotent.

use std::sync::Arc;

use scylla::client::session::Session;
use scylla::policies::retry::DefaultRetryPolicy;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;

use super::errors::StatementError;
use super::schema::in_keyspace;

/// Writes the order columns, all of them and no other.
pub(super) const RECORD_ORDER: &str = "\
INSERT INTO ecom_store.orders_payments_facts \
(order_id, customer_id, item, quantity, price, shipping_address, order_status, creation_date) \
VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";

/// Reads the payment columns of an order.
pub(super) const PAYMENT_SLOT: &str = "\
SELECT order_id, customer_id, payment_id, payment_method, card_last_four, payment_status, payment_datetime, \
WRITETIME(payment_id) FROM ecom_store.orders_payments_facts WHERE order_id = ?";

/// Reads the payment columns of several orders.
pub(super) const PAYMENT_SLOTS: &str = "\
SELECT order_id, customer_id, payment_id, payment_method, card_last_four, payment_status, payment_datetime, \
WRITETIME(payment_id) FROM ecom_store.orders_payments_facts WHERE order_id IN ?";

/// Writes the payment columns, all of them and no other.
pub(super) const RECORD_PAYMENT: &str = "\
UPDATE ecom_store.orders_payments_facts USING TIMESTAMP ? \
SET payment_id = ?, payment_method = ?, card_last_four = ?, payment_status = ?, payment_datetime = ? \
WHERE order_id = ?";

/// Reads a row with its write timestamps.
pub(super) const FACT: &str = "\
SELECT order_id, customer_id, item, quantity, price, shipping_address, order_status, creation_date, \
payment_id, payment_method, card_last_four, payment_status, payment_datetime, \
WRITETIME(customer_id) AS order_written_at, WRITETIME(payment_id) AS payment_written_at \
FROM ecom_store.orders_payments_facts WHERE order_id = ?";

/// Reads every row with its write timestamps.
pub(super) const FACTS: &str = "\
SELECT order_id, customer_id, item, quantity, price, shipping_address, order_status, creation_date, \
payment_id, payment_method, card_last_four, payment_status, payment_datetime, \
WRITETIME(customer_id) AS order_written_at, WRITETIME(payment_id) AS payment_written_at \
FROM ecom_store.orders_payments_facts";

/// Reads the rows of a token range with their write timestamps.
pub(super) const FACTS_IN: &str = "\
SELECT order_id, customer_id, item, quantity, price, shipping_address, order_status, creation_date, \
payment_id, payment_method, card_last_four, payment_status, payment_datetime, \
WRITETIME(customer_id) AS order_written_at, WRITETIME(payment_id) AS payment_written_at \
FROM ecom_store.orders_payments_facts WHERE TOKEN(order_id) > ? AND TOKEN(order_id) <= ?";

/// Writes a superseded payment at its event time.
pub(super) const RECORD_SUPERSEDED: &str = "\
INSERT INTO ecom_store.superseded_payments (order_id, t, payment_id, payment_method, card_last_four, \
payment_status, payment_datetime, superseded) VALUES (?, ?, ?, ?, ?, ?, ?, true) USING TIMESTAMP ?";

/// Writes a payment beside its row, superseded or not.
pub(super) const RECORD_BESIDE: &str = "\
INSERT INTO ecom_store.superseded_payments (order_id, t, payment_id, payment_method, card_last_four, \
payment_status, payment_datetime) VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";

/// Reads the recorded payments of an order, newest first.
pub(super) const SUPERSEDED_OF: &str = "\
SELECT order_id, t, payment_id, payment_method, card_last_four, payment_status, payment_datetime, superseded \
FROM ecom_store.superseded_payments WHERE order_id = ?";

/// Reads the recorded payments of all orders, newest first within an order.
pub(super) const SUPERSEDED: &str = "\
SELECT order_id, t, payment_id, payment_method, card_last_four, payment_status, payment_datetime, superseded \
FROM ecom_store.superseded_payments";

/// Registers a partition, so that scans find it.
pub(super) const REGISTER_PARTITION: &str = "\
INSERT INTO ecom_store.dead_letter_partitions (day, bucket, registered_at) VALUES (?, ?, ?) USING TIMESTAMP ?";

/// Reads every registered partition, in no order.
pub(super) const PARTITIONS: &str =
    "SELECT day, bucket, registered_at FROM ecom_store.dead_letter_partitions";

/// Reads one id of a partition, if it has any.
pub(super) const FIRST_OF_PARTITION: &str =
    "SELECT id FROM ecom_store.dead_letters WHERE day = ? AND bucket = ? LIMIT 1";

/// Deletes a registration at its own write timestamp.
pub(super) const FORGET_PARTITION: &str =
    "DELETE FROM ecom_store.dead_letter_partitions USING TIMESTAMP ? WHERE day = ? AND bucket = ?";

/// Writes the immutable columns of a dead letter at its event time; never its state.
pub(super) const RECORD_DEAD_LETTER: &str = "\
INSERT INTO ecom_store.dead_letters (day, bucket, id, kind, t, body, body_length, body_sha256, \
attributes, reason, detail, order_id, payment_id, first_failed_at, corrects) \
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";

/// Writes a history entry at the write timestamp of its change.
pub(super) const RECORD_ENTRY: &str = "\
INSERT INTO ecom_store.dead_letter_history \
(day, bucket, id, at, entry_id, action, reason, attempt, outcome, actor, host, note, run_id, \
operation_outcome, correction_number, correction_sha256, correction_order_id, correction_body, \
correction_status, corrected_by, replaced) \
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";

/// Writes a state at T + 8 × generation + rank.
pub(super) const SET_STATE: &str = "\
UPDATE ecom_store.dead_letters USING TIMESTAMP ? SET state = ?, generation = ?, state_at = ? \
WHERE day = ? AND bucket = ? AND id = ?";

/// Writes a schedule at T + attempts.
pub(super) const SET_SCHEDULE: &str = "\
UPDATE ecom_store.dead_letters USING TIMESTAMP ? SET attempts = ?, next_attempt_at = ? \
WHERE day = ? AND bucket = ? AND id = ?";

/// Reads a dead letter.
pub(super) const DEAD_LETTER: &str = "\
SELECT id, kind, t, body, body_length, body_sha256, attributes, reason, detail, order_id, payment_id, \
first_failed_at, corrects, state, generation, state_at, attempts, next_attempt_at \
FROM ecom_store.dead_letters WHERE day = ? AND bucket = ? AND id = ?";

/// Reads dead letters of a partition without bodies and attributes.
pub(super) const DEAD_LETTERS_BY_ID: &str = "\
SELECT id, kind, t, (blob) 0x AS body, body_length, body_sha256, \
(frozen<map<text, text>>) {} AS attributes, reason, detail, order_id, payment_id, \
first_failed_at, corrects, state, generation, state_at, attempts, next_attempt_at \
FROM ecom_store.dead_letters WHERE day = ? AND bucket = ? AND id IN ?";

/// Reads the ids of a partition in a range.
pub(super) const IDS_OF_PARTITION: &str = "\
SELECT id, kind FROM ecom_store.dead_letters WHERE day = ? AND bucket = ? AND id >= ? AND id < ?";

/// Reads the dead letters of a partition.
pub(super) const DEAD_LETTERS: &str = "\
SELECT id, kind, t, body, body_length, body_sha256, attributes, reason, detail, order_id, payment_id, \
first_failed_at, corrects, state, generation, state_at, attempts, next_attempt_at \
FROM ecom_store.dead_letters WHERE day = ? AND bucket = ?";

/// Reads the dead letters of a partition without bodies and attributes.
pub(super) const DEAD_LETTERS_BRIEF: &str = "\
SELECT id, kind, t, (blob) 0x AS body, body_length, body_sha256, \
(frozen<map<text, text>>) {} AS attributes, reason, detail, order_id, payment_id, \
first_failed_at, corrects, state, generation, state_at, attempts, next_attempt_at \
FROM ecom_store.dead_letters WHERE day = ? AND bucket = ?";

/// Reads the history of a dead letter, oldest entry first.
pub(super) const HISTORY: &str = "\
SELECT at, entry_id, action, reason, attempt, outcome, actor, host, note, run_id, operation_outcome, \
correction_number, correction_sha256, correction_order_id, correction_body, correction_status, \
corrected_by, replaced \
FROM ecom_store.dead_letter_history WHERE day = ? AND bucket = ? AND id = ?";

/// Deletes a dead letter at the write timestamp of its state.
pub(super) const REMOVE_DEAD_LETTER: &str = "\
DELETE FROM ecom_store.dead_letters USING TIMESTAMP ? WHERE day = ? AND bucket = ? AND id = ?";

/// Deletes the schedule of a dead letter at its own write timestamp, which may be above that of the state.
pub(super) const REMOVE_SCHEDULE: &str = "\
DELETE attempts, next_attempt_at FROM ecom_store.dead_letters USING TIMESTAMP ? \
WHERE day = ? AND bucket = ? AND id = ?";

/// Deletes the history of a dead letter, at the write timestamp of its state.
pub(super) const REMOVE_HISTORY: &str = "\
DELETE FROM ecom_store.dead_letter_history USING TIMESTAMP ? WHERE day = ? AND bucket = ? AND id = ?";

/// Writes the index entry of a dead letter at its event time.
pub(super) const RECORD_BY_ORDER: &str =
    "INSERT INTO ecom_store.dead_letters_by_order (order_id, t, id) VALUES (?, ?, ?) USING TIMESTAMP ?";

/// The ids of an order's dead letters, latest T first.
pub(super) const DEAD_LETTERS_BY_ORDER: &str =
    "SELECT id FROM ecom_store.dead_letters_by_order WHERE order_id = ?";

/// Removes a dead letter's line in the index by order, at the write timestamp of its state.
pub(super) const REMOVE_BY_ORDER: &str = "\
DELETE FROM ecom_store.dead_letters_by_order USING TIMESTAMP ? WHERE order_id = ? AND t = ? AND id = ?";

/// Writes a heartbeat at the server's time, so that a host with a wrong clock cannot block later ones.
pub(super) const HEARTBEAT: &str =
    "INSERT INTO ecom_store.role_heartbeats (role, host, version, seen_at) VALUES (?, ?, ?, ?)";

/// Writes the watermark of a role at that event time, so that it never falls.
pub(super) const WATERMARK: &str = "\
UPDATE ecom_store.role_heartbeats USING TIMESTAMP ? SET newest_event_at = ? WHERE role = ? AND host = ?";

/// Reads every heartbeat, in no order.
pub(super) const HEARTBEATS: &str =
    "SELECT role, host, version, seen_at, newest_event_at FROM ecom_store.role_heartbeats";

/// Writes a bulk operation at started_at + revision.
pub(super) const PUT_OPERATION: &str = "\
INSERT INTO ecom_store.bulk_operations (bucket, id, kind, started_at, actor, host, selection, note, \
dead_letters, batches, state, ended_at, outcomes, revision) \
VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";

/// Reads a bulk operation.
pub(super) const OPERATION: &str = "\
SELECT id, kind, started_at, actor, host, selection, note, dead_letters, batches, state, ended_at, \
outcomes, revision FROM ecom_store.bulk_operations WHERE bucket = 0 AND id = ?";

/// Reads every bulk operation, newest first.
pub(super) const OPERATIONS: &str = "\
SELECT id, kind, started_at, actor, host, selection, note, dead_letters, batches, state, ended_at, \
outcomes, revision FROM ecom_store.bulk_operations WHERE bucket = 0";

/// Writes a batch of a bulk operation's plan.
pub(super) const PUT_BATCH: &str = "\
INSERT INTO ecom_store.bulk_operation_batches (operation_id, number, planned, outcomes) VALUES (?, ?, ?, ?) \
USING TIMESTAMP ?";

/// Reads a batch of a bulk operation's plan.
pub(super) const BATCH: &str =
    "SELECT planned, outcomes FROM ecom_store.bulk_operation_batches WHERE operation_id = ? AND number = ?";

/// Rows per page of days, history entries and index entries.
const PAGE: i32 = 4_000;
/// Rows per page of facts and superseded payments: about 250 kB. A payment without a card has one null, which is a
/// tombstone, and Cassandra warns of more than 1,000 in a page (`tombstone_warn_threshold`).
const PAGE_FACTS: i32 = 1_000;
/// Rows per page of dead letters without bodies, of which a scan holds several pages, and of bulk operations.
const PAGE_BRIEF: i32 = 100;
/// Rows per page of dead letters with bodies of up to 1 MiB each.
const PAGE_WHOLE: i32 = 16;

/// The prepared statements.
pub(super) struct Statements {
    pub(super) record_order: PreparedStatement,
    pub(super) payment_slot: PreparedStatement,
    pub(super) payment_slots: PreparedStatement,
    pub(super) record_payment: PreparedStatement,
    pub(super) fact: PreparedStatement,
    pub(super) facts: PreparedStatement,
    pub(super) facts_in: PreparedStatement,
    pub(super) record_superseded: PreparedStatement,
    /// Writes a payment beside its row: two tables with the same partition key, hence one mutation.
    pub(super) record_beside: PreparedStatement,
    pub(super) superseded_of: PreparedStatement,
    pub(super) superseded: PreparedStatement,
    pub(super) register_partition: PreparedStatement,
    pub(super) partitions: PreparedStatement,
    pub(super) first_of_partition: PreparedStatement,
    pub(super) forget_partition: PreparedStatement,
    pub(super) record_dead_letter: PreparedStatement,
    pub(super) set_state: PreparedStatement,
    pub(super) set_schedule: PreparedStatement,
    pub(super) record_entry: PreparedStatement,
    pub(super) dead_letter: PreparedStatement,
    pub(super) dead_letters_by_id: PreparedStatement,
    pub(super) ids_of_partition: PreparedStatement,
    pub(super) dead_letters: PreparedStatement,
    pub(super) dead_letters_brief: PreparedStatement,
    pub(super) history: PreparedStatement,
    pub(super) remove: Batch,
    pub(super) record_by_order: PreparedStatement,
    pub(super) dead_letters_by_order: PreparedStatement,
    pub(super) remove_by_order: PreparedStatement,
    pub(super) heartbeat: PreparedStatement,
    /// Heartbeat and watermark.
    pub(super) heartbeat_with_watermark: Batch,
    pub(super) heartbeats: PreparedStatement,
    pub(super) put_operation: PreparedStatement,
    pub(super) operation: PreparedStatement,
    pub(super) operations: PreparedStatement,
    pub(super) put_batch: PreparedStatement,
    pub(super) batch: PreparedStatement,
}

impl Statements {
    /// Prepares every statement for a keyspace.
    pub(super) async fn prepare(session: &Session, keyspace: &str) -> Result<Self, StatementError> {
        let one = async |cql| prepare(session, keyspace, cql).await;
        let scan = async |cql, page_size| {
            let mut statement = one(cql).await?;
            statement.set_page_size(page_size);
            // A page that fails would fail the whole scan, and callers cannot resume one: here, and only
            // here, the driver retries.
            statement.set_retry_policy(Some(Arc::new(DefaultRetryPolicy::new())));
            Ok::<_, StatementError>(statement)
        };
        let heartbeat = one(HEARTBEAT).await?;
        Ok(Self {
            record_order: one(RECORD_ORDER).await?,
            payment_slot: one(PAYMENT_SLOT).await?,
            payment_slots: one(PAYMENT_SLOTS).await?,
            record_payment: one(RECORD_PAYMENT).await?,
            record_beside: one(RECORD_BESIDE).await?,
            fact: one(FACT).await?,
            facts: scan(FACTS, PAGE_FACTS).await?,
            facts_in: scan(FACTS_IN, PAGE_FACTS).await?,
            record_superseded: one(RECORD_SUPERSEDED).await?,
            superseded_of: scan(SUPERSEDED_OF, PAGE_FACTS).await?,
            superseded: scan(SUPERSEDED, PAGE_FACTS).await?,
            register_partition: one(REGISTER_PARTITION).await?,
            partitions: scan(PARTITIONS, PAGE).await?,
            first_of_partition: one(FIRST_OF_PARTITION).await?,
            forget_partition: one(FORGET_PARTITION).await?,
            record_dead_letter: one(RECORD_DEAD_LETTER).await?,
            set_state: one(SET_STATE).await?,
            set_schedule: one(SET_SCHEDULE).await?,
            record_entry: one(RECORD_ENTRY).await?,
            dead_letter: one(DEAD_LETTER).await?,
            dead_letters_by_id: one(DEAD_LETTERS_BY_ID).await?,
            ids_of_partition: scan(IDS_OF_PARTITION, PAGE_BRIEF).await?,
            dead_letters: scan(DEAD_LETTERS, PAGE_WHOLE).await?,
            dead_letters_brief: scan(DEAD_LETTERS_BRIEF, PAGE_BRIEF).await?,
            history: scan(HISTORY, PAGE).await?,
            remove: together([
                &one(REMOVE_DEAD_LETTER).await?,
                &one(REMOVE_SCHEDULE).await?,
                &one(REMOVE_HISTORY).await?,
            ]),
            record_by_order: one(RECORD_BY_ORDER).await?,
            dead_letters_by_order: scan(DEAD_LETTERS_BY_ORDER, PAGE).await?,
            remove_by_order: one(REMOVE_BY_ORDER).await?,
            heartbeat_with_watermark: together([&heartbeat, &one(WATERMARK).await?]),
            heartbeat,
            heartbeats: scan(HEARTBEATS, PAGE).await?,
            put_operation: one(PUT_OPERATION).await?,
            operation: one(OPERATION).await?,
            operations: scan(OPERATIONS, PAGE_BRIEF).await?,
            put_batch: one(PUT_BATCH).await?,
            batch: one(BATCH).await?,
        })
    }
}

/// Prepares an idempotent statement for a keyspace.
pub(super) async fn prepare(
    session: &Session,
    keyspace: &str,
    cql: &str,
) -> Result<PreparedStatement, StatementError> {
    let mut statement = session.prepare(in_keyspace(cql, keyspace)).await?;
    statement.set_is_idempotent(true);
    // Safe, since every statement names its columns and Cassandra never changes the type of a column.
    statement.set_use_cached_result_metadata(true);
    Ok(statement)
}

/// Returns a batch of statements on one partition. It is atomic without a batch log.
fn together<const N: usize>(statements: [&PreparedStatement; N]) -> Batch {
    let statements = statements.map(|statement| statement.clone().into()).to_vec();
    let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
    batch.set_is_idempotent(true);
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{ColumnKind, Schema};

    const ALL: [&str; 38] = [
        RECORD_ORDER,
        PAYMENT_SLOT,
        PAYMENT_SLOTS,
        RECORD_PAYMENT,
        FACT,
        FACTS,
        FACTS_IN,
        RECORD_SUPERSEDED,
        RECORD_BESIDE,
        SUPERSEDED_OF,
        SUPERSEDED,
        REGISTER_PARTITION,
        PARTITIONS,
        FIRST_OF_PARTITION,
        FORGET_PARTITION,
        RECORD_DEAD_LETTER,
        RECORD_ENTRY,
        SET_STATE,
        SET_SCHEDULE,
        DEAD_LETTER,
        IDS_OF_PARTITION,
        DEAD_LETTERS,
        DEAD_LETTERS_BRIEF,
        HISTORY,
        REMOVE_DEAD_LETTER,
        REMOVE_SCHEDULE,
        REMOVE_HISTORY,
        RECORD_BY_ORDER,
        DEAD_LETTERS_BY_ORDER,
        REMOVE_BY_ORDER,
        HEARTBEAT,
        WATERMARK,
        HEARTBEATS,
        PUT_OPERATION,
        OPERATION,
        OPERATIONS,
        PUT_BATCH,
        BATCH,
    ];

    fn words(cql: &str) -> Vec<&str> {
        cql.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|word| !word.is_empty())
            .collect()
    }

    fn regular_columns(table: &str) -> Vec<String> {
        let schema = Schema::read();
        let table = schema.table(table).expect("a table of schema.cql").clone();
        let regular = table.columns.into_iter().filter(|column| column.kind == ColumnKind::Regular);
        regular.map(|column| column.name).collect()
    }

    #[test]
    fn statements_name_only_tables_and_columns_of_the_schema() {
        let schema = Schema::read();
        let known: Vec<&str> = schema
            .tables
            .iter()
            .flat_map(|table| table.columns.iter().map(|column| column.name.as_str()).chain([&*table.name]))
            .chain(["ecom_store", "order_written_at", "payment_written_at"])
            .collect();
        let types = ["blob", "frozen", "map", "text", "true", "0x", "0", "1"];
        for cql in ALL {
            assert!(
                !cql.contains('*'),
                "rows are decoded by the columns known when the statement was prepared: {cql}"
            );
            for word in words(cql) {
                let keyword = word.bytes().all(|b| b.is_ascii_uppercase());
                assert!(keyword || types.contains(&word) || known.contains(&word), "{word:?} in {cql}");
            }
        }
    }

    #[test]
    fn an_order_and_a_payment_share_no_column_and_leave_none_out() {
        let named = |cql| -> Vec<String> {
            let columns = regular_columns("orders_payments_facts");
            columns.into_iter().filter(|column| words(cql).contains(&column.as_str())).collect()
        };
        let (order, payment) = (named(RECORD_ORDER), named(RECORD_PAYMENT));
        assert_eq!([order, payment].concat(), regular_columns("orders_payments_facts"));
    }

    #[test]
    fn a_superseded_payment_is_written_and_read_as_a_whole() {
        for column in regular_columns("superseded_payments") {
            for cql in [RECORD_SUPERSEDED, RECORD_BESIDE, SUPERSEDED_OF, SUPERSEDED] {
                let is_named = words(cql).contains(&column.as_str());
                assert_eq!(
                    is_named,
                    (column.as_str(), cql) != ("superseded", RECORD_BESIDE),
                    "{column} in {cql}"
                );
            }
        }
    }

    #[test]
    fn recording_a_dead_letter_never_writes_what_an_update_writes() {
        let recorded = words(RECORD_DEAD_LETTER);
        for column in regular_columns("dead_letters") {
            let by_update = words(SET_STATE).contains(&column.as_str());
            let by_schedule = words(SET_SCHEDULE).contains(&column.as_str());
            let writers = [recorded.contains(&column.as_str()), by_update, by_schedule];
            assert_eq!(writers.iter().filter(|writes| **writes).count(), 1, "{column}");
        }
    }

    #[test]
    fn a_bulk_operation_is_written_and_read_as_a_whole() {
        for column in regular_columns("bulk_operations") {
            for cql in [PUT_OPERATION, OPERATION, OPERATIONS] {
                assert!(words(cql).contains(&column.as_str()), "{column} in {cql}");
            }
        }
    }

    #[test]
    fn a_history_entry_is_written_and_read_as_a_whole() {
        for column in regular_columns("dead_letter_history") {
            for cql in [RECORD_ENTRY, HISTORY] {
                assert!(words(cql).contains(&column.as_str()), "{column} in {cql}");
            }
        }
    }

    #[test]
    fn every_write_but_a_heartbeat_carries_its_own_time_and_none_is_conditional_or_expires() {
        for cql in ALL {
            let needs_none = cql.starts_with("SELECT") || cql == HEARTBEAT;
            assert_eq!(needs_none, !cql.contains("USING TIMESTAMP"), "{cql}");
            for word in ["IF", "TTL", "COUNTER", "NOW"] {
                assert!(!words(cql).contains(&word), "{word} in {cql}");
            }
        }
    }
}
