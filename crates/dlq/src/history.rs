//! The audit log: the bulk operations, with actor, time, selection and note.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt};
use serde::Serialize;

use super::DeadLetterQueue;
use super::fact_summary::ReplacedFact;
use super::selection::Selection;
use super::times;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, OperationKind, OperationStatus};
use ecom_domain::dead_letter::{ClaimStatus, CorrectionClaim, HistoryAction, HistoryEntry, HistoryOutcome};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_store::StoreError;

/// The latest bulk operations.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct OperationHistory {
    /// The store, with host or path.
    pub store: String,
    /// The time of the read, microseconds since the epoch.
    #[serde(serialize_with = "times::serialize")]
    pub at: i64,
    /// The operations, newest first.
    pub operations: Vec<OperationRecord>,
}

/// A bulk operation in the audit log.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct OperationRecord {
    /// Names the operation.
    pub operation_id: OperationId,
    /// The time it began, microseconds since the epoch.
    #[serde(serialize_with = "times::serialize")]
    pub started_at: i64,
    /// The time it was stopped or finished, microseconds since the epoch; `None` while it runs.
    #[serde(serialize_with = "times::optional::serialize")]
    pub ended_at: Option<i64>,
    /// The change to each dead letter.
    pub kind: OperationKind,
    /// The person who started it.
    pub actor: String,
    /// The host it was started on.
    pub host: String,
    /// The selected dead letters; `None` if another version wrote what this one cannot read.
    pub selection: Option<Selection>,
    /// The reason, if one was given.
    pub note: Option<String>,
    /// Dead letters planned.
    pub dead_letters: u64,
    /// Dead letters by actual outcome; empty until it ended.
    pub outcomes: BTreeMap<String, u64>,
    /// Its status.
    pub state: OperationStatus,
}

impl From<BulkOperation> for OperationRecord {
    fn from(operation: BulkOperation) -> Self {
        Self {
            operation_id: operation.id,
            started_at: operation.started_at,
            ended_at: operation.ended_at,
            kind: operation.kind,
            actor: operation.actor,
            host: operation.host,
            selection: Selection::read(&operation.selection),
            note: operation.note,
            dead_letters: operation.dead_letters,
            outcomes: operation.outcomes.into_iter().collect(),
            state: operation.state,
        }
    }
}

/// A line of a dead letter's history, as it serialises.
#[derive(Serialize)]
pub(crate) struct HistoryLine<'h> {
    #[serde(serialize_with = "times::serialize")]
    at: i64,
    action: HistoryAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<HistoryOutcome>,
    actor: &'h str,
    host: &'h str,
    note: Option<&'h str>,
    run_id: Option<&'h str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correction: Option<ClaimLine<'h>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    corrected_by: Option<&'h str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<ReplacedFact>,
}

/// The claim of a correction number, as it serialises.
#[derive(Serialize)]
struct ClaimLine<'h> {
    number: u32,
    order_id: OrderId,
    status: ClaimStatus,
    body: &'h str,
}

impl<'h> From<&'h CorrectionClaim> for ClaimLine<'h> {
    fn from(claim: &'h CorrectionClaim) -> Self {
        Self { number: claim.number, order_id: claim.order_id, status: claim.status, body: &claim.body }
    }
}

impl<'h> From<&'h HistoryEntry> for HistoryLine<'h> {
    fn from(entry: &'h HistoryEntry) -> Self {
        Self {
            at: entry.at,
            action: entry.action,
            reason: entry.reason,
            attempt: entry.attempt,
            outcome: entry.outcome,
            actor: &entry.actor,
            host: &entry.host,
            note: entry.note.as_deref(),
            run_id: entry.run_id.as_deref(),
            correction: entry.correction.as_ref().map(ClaimLine::from),
            corrected_by: entry.corrected_by.as_deref(),
            replaced: entry.replaced.as_deref().and_then(ReplacedFact::from_json),
        }
    }
}

impl DeadLetterQueue {
    /// The latest bulk operations, at most `limit`, newest first.
    pub async fn history(&self, limit: usize) -> Result<OperationHistory, StoreError> {
        let operations = self.operations.operations().take(limit).map_ok(OperationRecord::from);
        let operations = operations.try_collect().await?;
        Ok(OperationHistory { store: self.facts.describe(), at: self.clock.now_us(), operations })
    }
}
