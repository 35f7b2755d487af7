//! The audit log: who changed dead letters in bulk, when, which and why; and the history of one dead letter.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt};
use serde::Serialize;

use super::DeadLetterQueue;
use super::selection::Selection;
use super::times;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, OperationKind, OperationStatus};
use ecom_domain::dead_letter::{HistoryAction, HistoryEntry};
use ecom_store::StoreError;

/// The latest bulk operations.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct OperationHistory {
    /// The store, with host or path.
    pub store: String,
    /// When it was read, microseconds since the epoch.
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
    /// When it began, microseconds since the epoch.
    #[serde(serialize_with = "times::serialize")]
    pub started_at: i64,
    /// When it was stopped or finished, microseconds since the epoch.
    #[serde(serialize_with = "times::optional::serialize")]
    pub ended_at: Option<i64>,
    /// What it does.
    pub kind: OperationKind,
    /// Who started it.
    pub actor: String,
    /// The host it was started on.
    pub host: String,
    /// The dead letters it was asked for.
    pub selection: Selection,
    /// Why, if a person said so.
    pub note: Option<String>,
    /// Dead letters planned.
    pub dead_letters: u64,
    /// Dead letters by actual outcome; empty until it ended.
    pub outcomes: BTreeMap<String, u64>,
    /// How far it is.
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
            // A later version may select by what this one does not know.
            selection: Selection::read(&operation.selection).unwrap_or_default(),
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
    outcome: &'h str,
    actor: &'h str,
    host: &'h str,
    note: Option<&'h str>,
    run_id: Option<&'h str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    corrected_by: Option<&'h str>,
}

impl<'h> From<&'h HistoryEntry> for HistoryLine<'h> {
    fn from(entry: &'h HistoryEntry) -> Self {
        Self {
            at: entry.at,
            action: entry.action,
            outcome: &entry.outcome,
            actor: &entry.actor,
            host: &entry.host,
            note: entry.note.as_deref(),
            run_id: entry.run_id.as_deref(),
            corrected_by: entry.corrected_by.as_deref(),
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
