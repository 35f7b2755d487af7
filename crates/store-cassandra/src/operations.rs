//! The operations store port on Cassandra.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use scylla::value::{CqlTimestamp, MaybeUnset};
use scylla::{DeserializeRow, SerializeRow};

use super::columns::{count, micros, timestamp, word};
use super::errors::StatementError;
use super::store::CassandraStore;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, OperationKind, OperationStatus, PlanBatch};
use ecom_domain::dead_letter::DeadLetterId;
use ecom_domain::heartbeat::Heartbeat;
use ecom_domain::verdict::Verdict;
use ecom_store::{OperationsStore, StoreError};

/// The number of dead letters by outcome.
type Outcomes = BTreeMap<String, i64>;

#[async_trait]
impl OperationsStore for CassandraStore {
    async fn record_heartbeat(&self, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        let (role, host) = (heartbeat.role.as_str(), heartbeat.host.as_str());
        let last_seen = (role, host, heartbeat.version.as_str(), timestamp(heartbeat.seen_at));
        let done = match heartbeat.newest_event_at {
            Some(t) => {
                let watermark = (t, timestamp(t), role, host);
                self.session.batch(&self.statements.heartbeat_with_watermark, (last_seen, watermark)).await
            }
            None => self.session.execute_unpaged(&self.statements.heartbeat, last_seen).await,
        };
        done.map(drop).map_err(|error| StatementError::from(error).at("write a heartbeat", &self.name))
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, StoreError> {
        let rows = self.rows::<HeartbeatRow, _>("read the heartbeats", &self.statements.heartbeats, ());
        let mut heartbeats: Vec<Heartbeat> =
            rows.try_filter_map(|row| std::future::ready(Ok(row.heartbeat()))).try_collect().await?;
        heartbeats.sort_unstable_by(|a, b| (&a.role, &a.host).cmp(&(&b.role, &b.host)));
        Ok(heartbeats)
    }

    async fn put_operation(&self, operation: &BulkOperation) -> Result<(), StoreError> {
        let values = OperationValues::of(operation);
        let done = self.session.execute_unpaged(&self.statements.put_operation, values).await;
        done.map(drop).map_err(|error| StatementError::from(error).at("write a bulk operation", &self.name))
    }

    async fn operation(&self, id: &OperationId) -> Result<Option<BulkOperation>, StoreError> {
        let read = async {
            let response = self.session.execute_unpaged(&self.statements.operation, (id.as_str(),)).await?;
            let row = response.into_rows_result()?.maybe_first_row::<OperationRow>()?;
            row.map(OperationRow::operation).transpose()
        };
        read.await.map_err(|error| error.at("read a bulk operation", &self.name))
    }

    fn operations(&self) -> BoxStream<'_, Result<BulkOperation, StoreError>> {
        const WHAT: &str = "read the bulk operations";
        self.rows::<OperationRow, _>(WHAT, &self.statements.operations, ())
            .map(|row| row.and_then(|row| row.operation().map_err(|error| error.at(WHAT, &self.name))))
            .boxed()
    }

    async fn put_batch(&self, operation: &OperationId, batch: &PlanBatch) -> Result<(), StoreError> {
        // A write with outcomes wins over one without, whatever the clocks say.
        let time: i64 = if batch.outcomes.is_some() { 2 } else { 1 };
        let planned: Vec<(&str, &str)> =
            batch.dead_letters.iter().map(|(id, verdict)| (id.as_str(), verdict.as_str())).collect();
        let outcomes = MaybeUnset::from_option(batch.outcomes.as_deref().map(cell));
        let values = (operation.as_str(), i64::from(batch.number), planned, outcomes, time);
        let done = self.session.execute_unpaged(&self.statements.put_batch, values).await;
        done.map(drop)
            .map_err(|error| StatementError::from(error).at("write a batch of a bulk operation", &self.name))
    }

    async fn batch(&self, operation: &OperationId, number: u32) -> Result<Option<PlanBatch>, StoreError> {
        let read = async {
            let key = (operation.as_str(), i64::from(number));
            let response = self.session.execute_unpaged(&self.statements.batch, key).await?;
            let row = response.into_rows_result()?.maybe_first_row::<BatchRow>()?;
            row.map(|row| row.batch(operation, number)).transpose()
        };
        read.await.map_err(|error| error.at("read a batch of a bulk operation", &self.name))
    }
}

fn cell(outcomes: &[(String, u64)]) -> Outcomes {
    let count = |count: &u64| i64::try_from(*count).unwrap_or(i64::MAX);
    outcomes.iter().map(|(outcome, dead_letters)| (outcome.clone(), count(dead_letters))).collect()
}

fn outcomes(cell: Outcomes) -> Vec<(String, u64)> {
    cell.into_iter()
        .map(|(outcome, dead_letters)| (outcome, u64::try_from(dead_letters).unwrap_or_default()))
        .collect()
}

#[derive(DeserializeRow)]
#[scylla(flavor = "enforce_order")]
struct HeartbeatRow {
    role: String,
    host: String,
    version: Option<String>,
    seen_at: Option<CqlTimestamp>,
    newest_event_at: Option<CqlTimestamp>,
}

impl HeartbeatRow {
    /// Returns the heartbeat; `None` where everything except the watermark has expired.
    fn heartbeat(self) -> Option<Heartbeat> {
        Some(Heartbeat {
            role: self.role,
            host: self.host,
            version: self.version.unwrap_or_default(),
            seen_at: micros(self.seen_at?),
            newest_event_at: self.newest_event_at.map(micros),
        })
    }
}

/// The values that `put_operation` binds. Absent values are null, so that those of an earlier revision are
/// replaced.
#[derive(SerializeRow)]
#[scylla(flavor = "enforce_order")]
struct OperationValues<'a> {
    id: &'a str,
    kind: &'static str,
    started_at: i64,
    actor: &'a str,
    host: &'a str,
    selection: &'a str,
    note: Option<&'a str>,
    dead_letters: i64,
    batches: i64,
    state: &'static str,
    ended_at: Option<i64>,
    outcomes: Outcomes,
    revision: i64,
    #[scylla(rename = "[timestamp]")]
    time: i64,
}

impl<'a> OperationValues<'a> {
    fn of(operation: &'a BulkOperation) -> Self {
        Self {
            id: operation.id.as_str(),
            kind: operation.kind.as_str(),
            started_at: operation.started_at,
            actor: &operation.actor,
            host: &operation.host,
            selection: &operation.selection,
            note: operation.note.as_deref(),
            dead_letters: i64::try_from(operation.dead_letters).unwrap_or(i64::MAX),
            batches: i64::from(operation.batches),
            state: operation.state.as_str(),
            ended_at: operation.ended_at,
            outcomes: cell(&operation.outcomes),
            revision: i64::from(operation.revision),
            time: operation.written_at(),
        }
    }
}

#[derive(DeserializeRow)]
#[scylla(flavor = "enforce_order")]
struct OperationRow {
    id: String,
    kind: String,
    started_at: i64,
    actor: String,
    host: String,
    selection: String,
    note: Option<String>,
    dead_letters: Option<i64>,
    batches: Option<i64>,
    state: String,
    ended_at: Option<i64>,
    outcomes: Option<Outcomes>,
    revision: Option<i64>,
}

impl OperationRow {
    fn operation(self) -> Result<BulkOperation, StatementError> {
        let row = self.id;
        Ok(BulkOperation {
            id: word(&row, "id", &row, OperationId::parse)?,
            kind: word(&row, "kind", &self.kind, OperationKind::parse)?,
            started_at: self.started_at,
            actor: self.actor,
            host: self.host,
            selection: self.selection,
            note: self.note,
            dead_letters: u64::try_from(self.dead_letters.unwrap_or_default()).unwrap_or_default(),
            batches: count(self.batches),
            state: word(&row, "state", &self.state, OperationStatus::parse)?,
            ended_at: self.ended_at,
            outcomes: outcomes(self.outcomes.unwrap_or_default()),
            revision: count(self.revision),
        })
    }
}

#[derive(DeserializeRow)]
#[scylla(flavor = "enforce_order")]
struct BatchRow {
    planned: Vec<(String, String)>,
    outcomes: Option<Outcomes>,
}

impl BatchRow {
    fn batch(self, operation: &OperationId, number: u32) -> Result<PlanBatch, StatementError> {
        let dead_letter = |(id, verdict): &(String, String)| {
            let id = word(operation.as_str(), "planned", id, DeadLetterId::parse)?;
            let verdict = word(operation.as_str(), "planned", verdict, Verdict::parse)?;
            Ok::<_, StatementError>((id, verdict))
        };
        Ok(PlanBatch {
            number,
            dead_letters: self.planned.iter().map(dead_letter).collect::<Result<_, _>>()?,
            outcomes: self.outcomes.map(outcomes),
        })
    }
}
