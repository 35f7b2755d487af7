//! The operations store: signs of life of the roles, and the operator's runs.

use std::collections::{BTreeMap, VecDeque};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::de::DeserializeOwned;

use super::Embedded;
use super::dead_letters::word;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, OperationKind, OperationStatus, PlanBatch};
use ecom_domain::dead_letter::DeadLetterId;
use ecom_domain::heartbeat::Heartbeat;
use ecom_domain::verdict::Verdict;
use ecom_store::{OperationsStore, StoreError};

/// Runs read at a time.
const PAGE: i64 = 500;
/// A host that was not seen for 30 days is forgotten, in microseconds.
const FORGOTTEN_AFTER: i64 = 30 * 86_400 * 1_000_000;

const BEAT: &str = "INSERT INTO role_heartbeats (role, host, version, seen_at, newest_event_at)
    VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (role, host) DO UPDATE SET version = excluded.version, seen_at = excluded.seen_at,
        newest_event_at = max(coalesce(role_heartbeats.newest_event_at, excluded.newest_event_at),
            coalesce(excluded.newest_event_at, role_heartbeats.newest_event_at))";
const FORGET: &str = "DELETE FROM role_heartbeats WHERE seen_at < ?1";
const HEARTBEATS: &str = "SELECT role, host, version, seen_at, newest_event_at FROM role_heartbeats
    ORDER BY role, host";
const PUT_RUN: &str =
    "INSERT INTO bulk_operations (id, kind, started_at, actor, host, selection, note, dead_letters,
        batches, state, ended_at, outcomes, revision)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
    ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, started_at = excluded.started_at,
        actor = excluded.actor, host = excluded.host, selection = excluded.selection,
        note = excluded.note, dead_letters = excluded.dead_letters, batches = excluded.batches,
        state = excluded.state, ended_at = excluded.ended_at, outcomes = excluded.outcomes,
        revision = excluded.revision
    WHERE excluded.started_at + excluded.revision > bulk_operations.started_at + bulk_operations.revision";
const RUN: &str = "SELECT id, kind, started_at, actor, host, selection, note, dead_letters, batches, state,
    ended_at, outcomes, revision FROM bulk_operations";
/// The plan does not change: what a part can gain are its outcomes.
const PUT_BATCH: &str = "INSERT INTO bulk_operation_batches (run_id, number, planned, outcomes)
    VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (run_id, number) DO UPDATE SET planned = excluded.planned, outcomes = excluded.outcomes
    WHERE bulk_operation_batches.outcomes IS NULL AND excluded.outcomes IS NOT NULL";
const BATCH: &str = "SELECT planned, outcomes FROM bulk_operation_batches WHERE run_id = ?1 AND number = ?2";

#[async_trait]
impl OperationsStore for Embedded {
    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        let heartbeat = heartbeat.clone();
        self.engine
            .write(move |connection| beat(connection, &heartbeat))
            .await
            .map_err(|failure| self.store_error("write a heartbeat", failure))
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, StoreError> {
        self.engine
            .read(|connection| connection.prepare_cached(HEARTBEATS)?.query_map([], heartbeat)?.collect())
            .await
            .map_err(|failure| self.store_error("read the heartbeats", failure))
    }

    async fn put_run(&self, run: &BulkOperation) -> Result<(), StoreError> {
        let run = run.clone();
        self.engine
            .write(move |connection| put_run(connection, &run))
            .await
            .map_err(|failure| self.store_error("write a run of the operator", failure))
    }

    async fn run(&self, id: &OperationId) -> Result<Option<BulkOperation>, StoreError> {
        let id = id.clone();
        self.engine
            .read(move |connection| {
                let mut statement = connection.prepare_cached(&format!("{RUN} WHERE id = ?1"))?;
                statement.query_row([id.as_str()], run).optional()
            })
            .await
            .map_err(|failure| self.store_error("read a run of the operator", failure))
    }

    fn runs(&self) -> BoxStream<'_, Result<BulkOperation, StoreError>> {
        stream::try_unfold((VecDeque::new(), None), move |(mut page, before)| async move {
            if page.is_empty() {
                page = self
                    .engine
                    .read(move |connection| runs_before(connection, before.as_ref()))
                    .await
                    .map_err(|failure| self.store_error("read the runs of the operator", failure))?;
            }
            Ok(page.pop_front().map(|run: BulkOperation| {
                let before = Some(run.id.clone());
                (run, (page, before))
            }))
        })
        .boxed()
    }

    async fn put_batch(&self, run: &OperationId, batch: &PlanBatch) -> Result<(), StoreError> {
        let (run, batch) = (run.clone(), batch.clone());
        self.engine
            .write(move |connection| put_batch(connection, &run, &batch))
            .await
            .map_err(|failure| self.store_error("write a part of a run", failure))
    }

    async fn batch(&self, run: &OperationId, number: u32) -> Result<Option<PlanBatch>, StoreError> {
        let run = run.clone();
        self.engine
            .read(move |connection| {
                let mut statement = connection.prepare_cached(BATCH)?;
                statement.query_row((run.as_str(), number), |row| batch(row, number)).optional()
            })
            .await
            .map_err(|failure| self.store_error("read a part of a run", failure))
    }
}

fn beat(connection: &Connection, heartbeat: &Heartbeat) -> rusqlite::Result<()> {
    connection.prepare_cached(BEAT)?.execute((
        &heartbeat.role,
        &heartbeat.host,
        &heartbeat.version,
        heartbeat.seen_at,
        heartbeat.newest_event_at,
    ))?;
    connection.prepare_cached(FORGET)?.execute([heartbeat.seen_at.saturating_sub(FORGOTTEN_AFTER)])?;
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

fn put_run(connection: &Connection, run: &BulkOperation) -> rusqlite::Result<()> {
    connection.prepare_cached(PUT_RUN)?.execute((
        run.id.as_str(),
        run.kind.as_str(),
        run.started_at,
        &run.actor,
        &run.host,
        &run.selection,
        &run.note,
        i64::try_from(run.dead_letters).unwrap_or(i64::MAX),
        run.batches,
        run.state.as_str(),
        run.ended_at,
        outcomes_json(&run.outcomes),
        run.revision,
    ))?;
    Ok(())
}

fn runs_before(
    connection: &Connection,
    before: Option<&OperationId>,
) -> rusqlite::Result<VecDeque<BulkOperation>> {
    // ':' follows every digit.
    let before = before.map_or(":", OperationId::as_str);
    connection
        .prepare_cached(&format!("{RUN} WHERE id < ?1 ORDER BY id DESC LIMIT ?2"))?
        .query_map((before, PAGE), run)?
        .collect()
}

fn run(row: &Row<'_>) -> rusqlite::Result<BulkOperation> {
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

fn put_batch(connection: &Connection, run: &OperationId, batch: &PlanBatch) -> rusqlite::Result<()> {
    let planned: Vec<_> =
        batch.dead_letters.iter().map(|(id, verdict)| (id.as_str(), verdict.as_str())).collect();
    let planned = serde_json::to_string(&planned).expect("pairs of texts always make an array");
    let outcomes = batch.outcomes.as_deref().map(outcomes_json);
    connection.prepare_cached(PUT_BATCH)?.execute((run.as_str(), batch.number, planned, outcomes))?;
    Ok(())
}

fn batch(row: &Row<'_>, number: u32) -> rusqlite::Result<PlanBatch> {
    let dead_letter = |(id, verdict): (String, String)| {
        DeadLetterId::parse(&id).zip(Verdict::parse(&verdict)).ok_or_else(|| {
            let error = format!("{id:?} with {verdict:?} is no dead letter with its verdict");
            rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into())
        })
    };
    let outcomes = match row.get_ref(1)?.as_str_or_null()? {
        Some(_) => Some(json::<BTreeMap<String, u64>>(row, 1)?.into_iter().collect()),
        None => None,
    };
    let dead_letters = json::<Vec<_>>(row, 0)?.into_iter().map(dead_letter).collect::<Result<_, _>>()?;
    Ok(PlanBatch { number, dead_letters, outcomes })
}

fn outcomes_json(outcomes: &[(String, u64)]) -> String {
    let outcomes: BTreeMap<&String, &u64> =
        outcomes.iter().map(|(outcome, dead_letters)| (outcome, dead_letters)).collect();
    serde_json::to_string(&outcomes).expect("counts by text always make an object")
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}
