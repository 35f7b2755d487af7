//! Every statement the pipeline runs, prepared once.
//!
//! The keyspace is written as in `schema.cql` and replaced by the configured one. T is a bound value
//! throughout, so that every attempt of a write carries the same one, and all of them are idempotent.

use std::sync::Arc;

use scylla::client::session::Session;
use scylla::policies::retry::DefaultRetryPolicy;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;

use super::errors::Cause;
use super::schema::in_keyspace;

/// The order columns, all of them and no other.
pub(super) const RECORD_ORDER: &str = "\
INSERT INTO ecom_store.orders_payments_facts \
(order_id, customer_id, item, quantity, price, shipping_address, order_status, creation_date) \
VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";

/// What a payment would be written over.
pub(super) const PAYMENT_SLOT: &str = "\
SELECT customer_id, payment_id, payment_method, card_last_four, payment_status, payment_datetime, \
WRITETIME(payment_id) FROM ecom_store.orders_payments_facts WHERE order_id = ?";

/// The payment columns, all of them and no other.
pub(super) const RECORD_PAYMENT: &str = "\
UPDATE ecom_store.orders_payments_facts USING TIMESTAMP ? \
SET payment_id = ?, payment_method = ?, card_last_four = ?, payment_status = ?, payment_datetime = ? \
WHERE order_id = ?";

/// One row with its write times.
pub(super) const FACT: &str = "\
SELECT order_id, customer_id, item, quantity, price, shipping_address, order_status, creation_date, \
payment_id, payment_method, card_last_four, payment_status, payment_datetime, \
WRITETIME(customer_id) AS order_written_at, WRITETIME(payment_id) AS payment_written_at \
FROM ecom_store.orders_payments_facts WHERE order_id = ?";

/// Every row with its write times.
pub(super) const FACTS: &str = "\
SELECT order_id, customer_id, item, quantity, price, shipping_address, order_status, creation_date, \
payment_id, payment_method, card_last_four, payment_status, payment_datetime, \
WRITETIME(customer_id) AS order_written_at, WRITETIME(payment_id) AS payment_written_at \
FROM ecom_store.orders_payments_facts";

/// A day that has dead letters. Its time is the smallest there is: the row never changes.
pub(super) const RECORD_DAY: &str =
    "INSERT INTO ecom_store.dead_letter_days (day) VALUES (?) USING TIMESTAMP 1";

/// Every day that has dead letters, in no order.
pub(super) const DAYS: &str = "SELECT day FROM ecom_store.dead_letter_days";

/// A dead letter's immutable columns at T; never its state.
pub(super) const RECORD_DEAD_LETTER: &str = "\
INSERT INTO ecom_store.dead_letters (day, bucket, id, kind, t, body, body_length, body_sha256, \
attributes, reason, detail, order_id, payment_id, first_failed_at, corrects) \
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";

/// A line of a dead letter's history, at the time of the change it belongs to.
pub(super) const RECORD_ENTRY: &str = "\
INSERT INTO ecom_store.dead_letter_history \
(day, bucket, id, at, entry_id, action, outcome, actor, host, note, run_id) \
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";

/// A state at T + 8 x generation + rank.
pub(super) const SET_STATE: &str = "\
UPDATE ecom_store.dead_letters USING TIMESTAMP ? SET state = ?, generation = ?, state_at = ? \
WHERE day = ? AND bucket = ? AND id = ?";

/// A schedule at T + attempts.
pub(super) const SET_SCHEDULE: &str = "\
UPDATE ecom_store.dead_letters USING TIMESTAMP ? SET attempts = ?, next_attempt_at = ? \
WHERE day = ? AND bucket = ? AND id = ?";

/// One dead letter, whole.
pub(super) const DEAD_LETTER: &str = "\
SELECT id, kind, t, body, body_length, body_sha256, attributes, reason, detail, order_id, payment_id, \
first_failed_at, corrects, state, generation, state_at, attempts, next_attempt_at \
FROM ecom_store.dead_letters WHERE day = ? AND bucket = ? AND id = ?";

/// The dead letters of a partition, whole.
pub(super) const DEAD_LETTERS: &str = "\
SELECT id, kind, t, body, body_length, body_sha256, attributes, reason, detail, order_id, payment_id, \
first_failed_at, corrects, state, generation, state_at, attempts, next_attempt_at \
FROM ecom_store.dead_letters WHERE day = ? AND bucket = ?";

/// The dead letters of a partition; body and attributes stay with the server.
pub(super) const DEAD_LETTERS_BRIEF: &str = "\
SELECT id, kind, t, (blob) 0x AS body, body_length, body_sha256, \
(frozen<map<text, text>>) {} AS attributes, reason, detail, order_id, payment_id, \
first_failed_at, corrects, state, generation, state_at, attempts, next_attempt_at \
FROM ecom_store.dead_letters WHERE day = ? AND bucket = ?";

/// A dead letter's history, oldest first.
pub(super) const HISTORY: &str = "\
SELECT at, entry_id, action, outcome, actor, host, note, run_id \
FROM ecom_store.dead_letter_history WHERE day = ? AND bucket = ? AND id = ?";

/// Removes a dead letter at its highest cell's time.
pub(super) const REMOVE_DEAD_LETTER: &str = "\
DELETE FROM ecom_store.dead_letters USING TIMESTAMP ? WHERE day = ? AND bucket = ? AND id = ?";

/// Removes a dead letter's history, at the same time.
pub(super) const REMOVE_HISTORY: &str = "\
DELETE FROM ecom_store.dead_letter_history USING TIMESTAMP ? WHERE day = ? AND bucket = ? AND id = ?";

/// A dead letter's line in the index by order, at T.
pub(super) const RECORD_BY_ORDER: &str =
    "INSERT INTO ecom_store.dead_letters_by_order (order_id, t, id) VALUES (?, ?, ?) USING TIMESTAMP ?";

/// The ids of an order's dead letters, latest T first.
pub(super) const DEAD_LETTERS_BY_ORDER: &str =
    "SELECT id FROM ecom_store.dead_letters_by_order WHERE order_id = ?";

/// Removes a dead letter's line in the index by order, at its highest cell's time.
pub(super) const REMOVE_BY_ORDER: &str = "\
DELETE FROM ecom_store.dead_letters_by_order USING TIMESTAMP ? WHERE order_id = ? AND t = ? AND id = ?";

/// A sign of life, at the server's time: of all clocks the one that stays when a host's was wrong.
pub(super) const BEAT: &str =
    "INSERT INTO ecom_store.role_heartbeats (role, host, version, seen_at) VALUES (?, ?, ?, ?)";

/// How far a role has come, at that T.
pub(super) const BEAT_NEWEST: &str = "\
UPDATE ecom_store.role_heartbeats USING TIMESTAMP ? SET newest_event_at = ? WHERE role = ? AND host = ?";

/// Every sign of life, in no order.
pub(super) const HEARTBEATS: &str =
    "SELECT role, host, version, seen_at, newest_event_at FROM ecom_store.role_heartbeats";

/// A run as a whole, at started_at + revision.
pub(super) const PUT_RUN: &str = "\
INSERT INTO ecom_store.bulk_operations (bucket, id, kind, started_at, actor, host, selection, note, dead_letters, \
batches, state, ended_at, outcomes, revision) \
VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";

/// One run.
pub(super) const RUN: &str = "\
SELECT id, kind, started_at, actor, host, selection, note, dead_letters, batches, state, ended_at, \
outcomes, revision FROM ecom_store.bulk_operations WHERE bucket = 0 AND id = ?";

/// Every run, newest first.
pub(super) const RUNS: &str = "\
SELECT id, kind, started_at, actor, host, selection, note, dead_letters, batches, state, ended_at, \
outcomes, revision FROM ecom_store.bulk_operations WHERE bucket = 0";

/// A part of a run's plan.
pub(super) const PUT_BATCH: &str = "\
INSERT INTO ecom_store.bulk_operation_batches (run_id, number, planned, outcomes) VALUES (?, ?, ?, ?) \
USING TIMESTAMP ?";

/// One part of a run's plan.
pub(super) const BATCH: &str =
    "SELECT planned, outcomes FROM ecom_store.bulk_operation_batches WHERE run_id = ? AND number = ?";

/// Rows of facts, days and history lines a page: about 1 MB of facts.
const PAGE: i32 = 4_000;
/// Dead letters a page without their bodies, and runs.
const PAGE_BRIEF: i32 = 500;
/// Dead letters a page with bodies of up to 1 MiB each.
const PAGE_WHOLE: i32 = 16;

/// The statements, ready to run.
pub(super) struct Statements {
    pub(super) record_order: PreparedStatement,
    pub(super) payment_slot: PreparedStatement,
    pub(super) record_payment: PreparedStatement,
    pub(super) fact: PreparedStatement,
    pub(super) facts: PreparedStatement,
    pub(super) record_day: PreparedStatement,
    pub(super) days: PreparedStatement,
    /// Dead letter and history line: two tables, one partition, hence one mutation.
    pub(super) record_dead_letter: Batch,
    /// State and history line.
    pub(super) set_state: Batch,
    /// Schedule and history line.
    pub(super) set_schedule: Batch,
    pub(super) record_entry: PreparedStatement,
    pub(super) dead_letter: PreparedStatement,
    pub(super) dead_letters: PreparedStatement,
    pub(super) dead_letters_brief: PreparedStatement,
    pub(super) history: PreparedStatement,
    /// Dead letter and history.
    pub(super) remove: Batch,
    pub(super) record_by_order: PreparedStatement,
    pub(super) dead_letters_by_order: PreparedStatement,
    pub(super) remove_by_order: PreparedStatement,
    pub(super) beat: PreparedStatement,
    /// Sign of life and how far the role has come.
    pub(super) beat_newest: Batch,
    pub(super) heartbeats: PreparedStatement,
    pub(super) put_run: PreparedStatement,
    pub(super) run: PreparedStatement,
    pub(super) runs: PreparedStatement,
    pub(super) put_batch: PreparedStatement,
    pub(super) batch: PreparedStatement,
}

impl Statements {
    pub(super) async fn prepare(session: &Session, keyspace: &str) -> Result<Self, Cause> {
        let one = async |cql| prepare(session, keyspace, cql).await;
        let scan = async |cql, page_size| {
            let mut statement = one(cql).await?;
            statement.set_page_size(page_size);
            // A page that fails would fail the whole scan, which nobody can resume: here, and only
            // here, the driver asks again.
            statement.set_retry_policy(Some(Arc::new(DefaultRetryPolicy::new())));
            Ok::<_, Cause>(statement)
        };
        let record_entry = one(RECORD_ENTRY).await?;
        let beat = one(BEAT).await?;
        Ok(Self {
            record_order: one(RECORD_ORDER).await?,
            payment_slot: one(PAYMENT_SLOT).await?,
            record_payment: one(RECORD_PAYMENT).await?,
            fact: one(FACT).await?,
            facts: scan(FACTS, PAGE).await?,
            record_day: one(RECORD_DAY).await?,
            days: scan(DAYS, PAGE).await?,
            record_dead_letter: together(one(RECORD_DEAD_LETTER).await?, record_entry.clone()),
            set_state: together(one(SET_STATE).await?, record_entry.clone()),
            set_schedule: together(one(SET_SCHEDULE).await?, record_entry.clone()),
            record_entry,
            dead_letter: one(DEAD_LETTER).await?,
            dead_letters: scan(DEAD_LETTERS, PAGE_WHOLE).await?,
            dead_letters_brief: scan(DEAD_LETTERS_BRIEF, PAGE_BRIEF).await?,
            history: scan(HISTORY, PAGE).await?,
            remove: together(one(REMOVE_DEAD_LETTER).await?, one(REMOVE_HISTORY).await?),
            record_by_order: one(RECORD_BY_ORDER).await?,
            dead_letters_by_order: scan(DEAD_LETTERS_BY_ORDER, PAGE).await?,
            remove_by_order: one(REMOVE_BY_ORDER).await?,
            beat_newest: together(beat.clone(), one(BEAT_NEWEST).await?),
            beat,
            heartbeats: scan(HEARTBEATS, PAGE).await?,
            put_run: one(PUT_RUN).await?,
            run: one(RUN).await?,
            runs: scan(RUNS, PAGE_BRIEF).await?,
            put_batch: one(PUT_BATCH).await?,
            batch: one(BATCH).await?,
        })
    }
}

async fn prepare(session: &Session, keyspace: &str, cql: &str) -> Result<PreparedStatement, Cause> {
    let mut statement = session.prepare(in_keyspace(cql, keyspace)).await?;
    statement.set_is_idempotent(true);
    // Every column is named, and Cassandra changes no column's type: what an answer looks like is known.
    statement.set_use_cached_result_metadata(true);
    Ok(statement)
}

/// Two statements on one partition. Unlogged is enough: one mutation is atomic by itself.
fn together(first: PreparedStatement, second: PreparedStatement) -> Batch {
    let mut batch = Batch::new_with_statements(BatchType::Unlogged, vec![first.into(), second.into()]);
    batch.set_is_idempotent(true);
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{ColumnKind, Schema};

    const ALL: [&str; 28] = [
        RECORD_ORDER,
        PAYMENT_SLOT,
        RECORD_PAYMENT,
        FACT,
        FACTS,
        RECORD_DAY,
        DAYS,
        RECORD_DEAD_LETTER,
        RECORD_ENTRY,
        SET_STATE,
        SET_SCHEDULE,
        DEAD_LETTER,
        DEAD_LETTERS,
        DEAD_LETTERS_BRIEF,
        HISTORY,
        REMOVE_DEAD_LETTER,
        REMOVE_HISTORY,
        RECORD_BY_ORDER,
        DEAD_LETTERS_BY_ORDER,
        REMOVE_BY_ORDER,
        BEAT,
        BEAT_NEWEST,
        HEARTBEATS,
        PUT_RUN,
        RUN,
        RUNS,
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
        let types = ["blob", "frozen", "map", "text", "0x", "0", "1"];
        for cql in ALL {
            assert!(!cql.contains('*'), "answers are decoded by the columns that were there at first: {cql}");
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
    fn recording_a_dead_letter_never_writes_what_an_act_writes() {
        let recorded = words(RECORD_DEAD_LETTER);
        for column in regular_columns("dead_letters") {
            let by_act = words(SET_STATE).contains(&column.as_str());
            let by_schedule = words(SET_SCHEDULE).contains(&column.as_str());
            let writers = [recorded.contains(&column.as_str()), by_act, by_schedule];
            assert_eq!(writers.iter().filter(|writes| **writes).count(), 1, "{column}");
        }
    }

    #[test]
    fn a_run_is_written_and_read_as_a_whole() {
        for column in regular_columns("bulk_operations") {
            for cql in [PUT_RUN, RUN, RUNS] {
                assert!(words(cql).contains(&column.as_str()), "{column} in {cql}");
            }
        }
    }

    #[test]
    fn every_write_but_a_heartbeat_carries_its_own_time_and_none_is_conditional_or_expires() {
        for cql in ALL {
            let needs_none = cql.starts_with("SELECT") || cql == BEAT;
            assert_eq!(needs_none, !cql.contains("USING TIMESTAMP"), "{cql}");
            for word in ["IF", "TTL", "COUNTER", "NOW"] {
                assert!(!words(cql).contains(&word), "{word} in {cql}");
            }
        }
    }
}
