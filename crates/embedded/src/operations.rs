//! The operations store port on the file.

use std::collections::{BTreeMap, VecDeque};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use super::columns::{json, optional_json, word};
use super::embedded::Embedded;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, OperationKind, OperationStatus, PlanBatch};
use ecom_domain::dead_letter::DeadLetterId;
use ecom_domain::heartbeat::Heartbeat;
use ecom_domain::verdict::Verdict;
use ecom_store::{OperationsStore, StoreError};

/// Bulk operations per page.
const PAGE: i64 = 500;
/// The age at which a heartbeat expires: 30 days, in microseconds.
const HEARTBEAT_TTL: i64 = 30 * 86_400 * 1_000_000;

const WRITE_HEARTBEAT: &str = "INSERT INTO role_heartbeats (role, host, version, seen_at, newest_event_at)
    VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (role, host) DO UPDATE SET version = excluded.version, seen_at = excluded.seen_at,
        newest_event_at = max(coalesce(role_heartbeats.newest_event_at, excluded.newest_event_at),
            coalesce(excluded.newest_event_at, role_heartbeats.newest_event_at))";
const EXPIRE_HEARTBEATS: &str = "DELETE FROM role_heartbeats WHERE seen_at < ?1";
const READ_HEARTBEATS: &str = "SELECT role, host, version, seen_at, newest_event_at FROM role_heartbeats
    ORDER BY role, host";
const PUT_OPERATION: &str =
    "INSERT INTO bulk_operations (id, kind, started_at, actor, host, selection, note, dead_letters,
        batches, state, ended_at, outcomes, revision)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
    ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, started_at = excluded.started_at,
        actor = excluded.actor, host = excluded.host, selection = excluded.selection,
        note = excluded.note, dead_letters = excluded.dead_letters, batches = excluded.batches,
        state = excluded.state, ended_at = excluded.ended_at, outcomes = excluded.outcomes,
        revision = excluded.revision
    WHERE excluded.started_at + excluded.revision > bulk_operations.started_at + bulk_operations.revision";
const SELECT_OPERATION: &str =
    "SELECT id, kind, started_at, actor, host, selection, note, dead_letters, batches, state,
    ended_at, outcomes, revision FROM bulk_operations";
/// A plan never changes: a later write can only add outcomes.
const PUT_BATCH: &str = "INSERT INTO bulk_operation_batches (operation_id, number, planned, outcomes)
    VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (operation_id, number) DO UPDATE SET planned = excluded.planned, outcomes = excluded.outcomes
    WHERE bulk_operation_batches.outcomes IS NULL AND excluded.outcomes IS NOT NULL";
const READ_BATCH: &str =
    "SELECT planned, outcomes FROM bulk_operation_batches WHERE operation_id = ?1 AND number = ?2";

#[async_trait]
impl OperationsStore for Embedded {
    async fn record_heartbeat(&self, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        let heartbeat = heartbeat.clone();
        self.engine
            .write(move |connection| record_heartbeat(connection, &heartbeat))
            .await
            .map_err(|error| self.store_error("write a heartbeat", error))
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, StoreError> {
        self.engine
            .read(|connection| {
                connection.prepare_cached(READ_HEARTBEATS)?.query_map([], heartbeat)?.collect()
            })
            .await
            .map_err(|error| self.store_error("read the heartbeats", error))
    }

    async fn put_operation(&self, operation: &BulkOperation) -> Result<(), StoreError> {
        let operation = operation.clone();
        self.engine
            .write(move |connection| put_operation(connection, &operation))
            .await
            .map_err(|error| self.store_error("write a bulk operation", error))
    }

    async fn operation(&self, id: &OperationId) -> Result<Option<BulkOperation>, StoreError> {
        let id = id.clone();
        self.engine
            .read(move |connection| {
                let mut statement =
                    connection.prepare_cached(&format!("{SELECT_OPERATION} WHERE id = ?1"))?;
                statement.query_row([id.as_str()], operation).optional()
            })
            .await
            .map_err(|error| self.store_error("read a bulk operation", error))
    }

    fn operations(&self) -> BoxStream<'_, Result<BulkOperation, StoreError>> {
        // ':' sorts after every digit.
        let start = ":".to_owned();
        let key = |operation: &BulkOperation| operation.id.as_str().to_owned();
        self.pages(
            "read the bulk operations",
            start,
            |connection, before| operations_before(connection, before),
            key,
        )
    }

    async fn put_batch(&self, operation: &OperationId, batch: &PlanBatch) -> Result<(), StoreError> {
        let (operation, batch) = (operation.clone(), batch.clone());
        self.engine
            .write(move |connection| put_batch(connection, &operation, &batch))
            .await
            .map_err(|error| self.store_error("write a batch of a bulk operation", error))
    }

    async fn batch(&self, operation: &OperationId, number: u32) -> Result<Option<PlanBatch>, StoreError> {
        let operation = operation.clone();
        self.engine
            .read(move |connection| {
                let mut statement = connection.prepare_cached(READ_BATCH)?;
                statement.query_row((operation.as_str(), number), |row| batch(row, number)).optional()
            })
            .await
            .map_err(|error| self.store_error("read a batch of a bulk operation", error))
    }
}

fn record_heartbeat(connection: &Connection, heartbeat: &Heartbeat) -> rusqlite::Result<()> {
    connection.prepare_cached(WRITE_HEARTBEAT)?.execute((
        &heartbeat.role,
        &heartbeat.host,
        &heartbeat.version,
        heartbeat.seen_at,
        heartbeat.newest_event_at,
    ))?;
    connection
        .prepare_cached(EXPIRE_HEARTBEATS)?
        .execute([heartbeat.seen_at.saturating_sub(HEARTBEAT_TTL)])?;
    Ok(())
}

fn heartbeat(row: &Row<'_>) -> rusqlite::Result<Heartbeat> {
    Ok(Heartbeat {
        role: row.get(0)?,
        host: row.get(1)?,
        version: row.get(2)?,
        seen_at: row.get(3)?,
        newest_event_at: row.get(4)?,
    })
}

fn put_operation(connection: &Connection, operation: &BulkOperation) -> rusqlite::Result<()> {
    connection.prepare_cached(PUT_OPERATION)?.execute((
        operation.id.as_str(),
        operation.kind.as_str(),
        operation.started_at,
        &operation.actor,
        &operation.host,
        &operation.selection,
        &operation.note,
        i64::try_from(operation.dead_letters).unwrap_or(i64::MAX),
        operation.batches,
        operation.state.as_str(),
        operation.ended_at,
        outcomes_json(&operation.outcomes),
        operation.revision,
    ))?;
    Ok(())
}

fn operations_before(connection: &Connection, before: &str) -> rusqlite::Result<VecDeque<BulkOperation>> {
    connection
        .prepare_cached(&format!("{SELECT_OPERATION} WHERE id < ?1 ORDER BY id DESC LIMIT ?2"))?
        .query_map((before, PAGE), operation)?
        .collect()
}

fn operation(row: &Row<'_>) -> rusqlite::Result<BulkOperation> {
    Ok(BulkOperation {
        id: word(row, 0, OperationId::parse)?,
        kind: word(row, 1, OperationKind::parse)?,
        started_at: row.get(2)?,
        actor: row.get(3)?,
        host: row.get(4)?,
        selection: row.get(5)?,
        note: row.get(6)?,
        dead_letters: u64::try_from(row.get::<_, i64>(7)?).unwrap_or_default(),
        batches: row.get(8)?,
        state: word(row, 9, OperationStatus::parse)?,
        ended_at: row.get(10)?,
        outcomes: json::<BTreeMap<String, u64>>(row, 11)?.into_iter().collect(),
        revision: row.get(12)?,
    })
}

fn put_batch(connection: &Connection, operation: &OperationId, batch: &PlanBatch) -> rusqlite::Result<()> {
    let planned: Vec<_> =
        batch.dead_letters.iter().map(|(id, verdict)| (id.as_str(), verdict.as_str())).collect();
    let planned = serde_json::to_string(&planned).expect("pairs of texts always make an array");
    let outcomes = batch.outcomes.as_deref().map(outcomes_json);
    connection.prepare_cached(PUT_BATCH)?.execute((operation.as_str(), batch.number, planned, outcomes))?;
    Ok(())
}

fn batch(row: &Row<'_>, number: u32) -> rusqlite::Result<PlanBatch> {
    let dead_letter = |(id, verdict): (String, String)| {
        DeadLetterId::parse(&id).zip(Verdict::parse(&verdict)).ok_or_else(|| {
            let error = format!("{id:?} with {verdict:?} is not a dead letter id with a verdict");
            rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into())
        })
    };
    let outcomes = optional_json::<BTreeMap<String, u64>>(row, 1)?;
    let outcomes = outcomes.map(|outcomes| outcomes.into_iter().collect());
    let dead_letters = json::<Vec<_>>(row, 0)?.into_iter().map(dead_letter).collect::<Result<_, _>>()?;
    Ok(PlanBatch { number, dead_letters, outcomes })
}

fn outcomes_json(outcomes: &[(String, u64)]) -> String {
    let outcomes: BTreeMap<&String, &u64> =
        outcomes.iter().map(|(outcome, dead_letters)| (outcome, dead_letters)).collect();
    serde_json::to_string(&outcomes).expect("counts by text always make an object")
}
