//! The operations store: signs of life of the roles, and the operator's runs.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use scylla::value::{CqlTimestamp, MaybeUnset};
use scylla::{DeserializeRow, SerializeRow};

use super::dead_letters::rows::{count, micros, timestamp, word};
use super::errors::Cause;
use super::session::CassandraStore;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, OperationKind, OperationStatus, PlanBatch};
use ecom_domain::dead_letter::DeadLetterId;
use ecom_domain::heartbeat::Heartbeat;
use ecom_domain::verdict::Verdict;
use ecom_store::{OperationsStore, StoreError};

/// Dead letters by what came of them, as a cell.
type Outcomes = BTreeMap<String, i64>;

#[async_trait]
impl OperationsStore for CassandraStore {
    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        let (role, host) = (heartbeat.role.as_str(), heartbeat.host.as_str());
        let beat = (role, host, heartbeat.version.as_str(), timestamp(heartbeat.seen_at));
        let done = match heartbeat.newest_event_at {
            Some(t) => {
                let newest = (t, timestamp(t), role, host);
                self.session.batch(&self.statements.beat_newest, (beat, newest)).await
            }
            None => self.session.execute_unpaged(&self.statements.beat, beat).await,
        };
        done.map(drop).map_err(|error| Cause::from(error).at("write a heartbeat", &self.name))
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, StoreError> {
        let rows = self.rows::<HeartbeatRow, _>("read the heartbeats", &self.statements.heartbeats, ());
        let mut heartbeats: Vec<Heartbeat> =
            rows.try_filter_map(|row| std::future::ready(Ok(row.heartbeat()))).try_collect().await?;
        heartbeats.sort_unstable_by(|a, b| (&a.role, &a.host).cmp(&(&b.role, &b.host)));
        Ok(heartbeats)
    }

    async fn put_run(&self, run: &BulkOperation) -> Result<(), StoreError> {
        let done = self.session.execute_unpaged(&self.statements.put_run, RunValues::of(run)).await;
        done.map(drop).map_err(|error| Cause::from(error).at("write a run of the operator", &self.name))
    }

    async fn run(&self, id: &OperationId) -> Result<Option<BulkOperation>, StoreError> {
        let read = async {
            let answer = self.session.execute_unpaged(&self.statements.run, (id.as_str(),)).await?;
            let row = answer.into_rows_result()?.maybe_first_row::<RunRow>()?;
            row.map(RunRow::run).transpose()
        };
        read.await.map_err(|cause| cause.at("read a run of the operator", &self.name))
    }

    fn runs(&self) -> BoxStream<'_, Result<BulkOperation, StoreError>> {
        const WHAT: &str = "read the runs of the operator";
        self.rows::<RunRow, _>(WHAT, &self.statements.runs, ())
            .map(|row| row.and_then(|row| row.run().map_err(|cause| cause.at(WHAT, &self.name))))
            .boxed()
    }

    async fn put_batch(&self, run: &OperationId, batch: &PlanBatch) -> Result<(), StoreError> {
        // Of all writes of a part the one with outcomes is the later, whatever clock wrote them.
        let time: i64 = if batch.outcomes.is_some() { 2 } else { 1 };
        let planned: Vec<String> =
            batch.dead_letters.iter().map(|(id, verdict)| format!("{id} {}", verdict.as_str())).collect();
        let outcomes = MaybeUnset::from_option(batch.outcomes.as_deref().map(cell));
        let values = (run.as_str(), i64::from(batch.number), planned, outcomes, time);
        let done = self.session.execute_unpaged(&self.statements.put_batch, values).await;
        done.map(drop).map_err(|error| Cause::from(error).at("write a part of a run", &self.name))
    }

    async fn batch(&self, run: &OperationId, number: u32) -> Result<Option<PlanBatch>, StoreError> {
        let read = async {
            let key = (run.as_str(), i64::from(number));
            let answer = self.session.execute_unpaged(&self.statements.batch, key).await?;
            let row = answer.into_rows_result()?.maybe_first_row::<BatchRow>()?;
            row.map(|row| row.batch(run, number)).transpose()
        };
        read.await.map_err(|cause| cause.at("read a part of a run", &self.name))
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
    /// None where only how far it had come is left of it.
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

/// What `put_run` binds. What is absent is null: an earlier revision's must not shine through.
#[derive(SerializeRow)]
#[scylla(flavor = "enforce_order")]
struct RunValues<'a> {
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

impl<'a> RunValues<'a> {
    fn of(run: &'a BulkOperation) -> Self {
        Self {
            id: run.id.as_str(),
            kind: run.kind.as_str(),
            started_at: run.started_at,
            actor: &run.actor,
            host: &run.host,
            selection: &run.selection,
            note: run.note.as_deref(),
            dead_letters: i64::try_from(run.dead_letters).unwrap_or(i64::MAX),
            batches: i64::from(run.batches),
            state: run.state.as_str(),
            ended_at: run.ended_at,
            outcomes: cell(&run.outcomes),
            revision: i64::from(run.revision),
            time: run.written_at(),
        }
    }
}

#[derive(DeserializeRow)]
#[scylla(flavor = "enforce_order")]
struct RunRow {
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

impl RunRow {
    fn run(self) -> Result<BulkOperation, Cause> {
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
    planned: Vec<String>,
    outcomes: Option<Outcomes>,
}

impl BatchRow {
    fn batch(self, run: &OperationId, number: u32) -> Result<PlanBatch, Cause> {
        let dead_letter = |line: &String| {
            word(run.as_str(), "planned", line, |line| {
                let (id, verdict) = line.split_once(' ')?;
                Some((DeadLetterId::parse(id)?, Verdict::parse(verdict)?))
            })
        };
        Ok(PlanBatch {
            number,
            dead_letters: self.planned.iter().map(dead_letter).collect::<Result<_, _>>()?,
            outcomes: self.outcomes.map(outcomes),
        })
    }
}
