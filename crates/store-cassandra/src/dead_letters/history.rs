//! History entries as bound values and as rows.

use scylla::value::{CqlTimestamp, MaybeUnset};
use scylla::{DeserializeRow, SerializeRow};

use super::super::columns::{count, micros, optional_word, timestamp, word};
use super::super::errors::StatementError;
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::dead_letter::{
    ClaimStatus, CorrectionClaim, DeadLetterId, HistoryAction, HistoryEntry, HistoryOutcome,
};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;

/// The values that a history entry binds. Absent values are left unset: a null would write a tombstone.
#[derive(SerializeRow)]
#[scylla(flavor = "enforce_order")]
pub(super) struct EntryValues<'a> {
    day: i32,
    bucket: i16,
    id: &'a str,
    at: CqlTimestamp,
    entry_id: &'a str,
    action: &'static str,
    reason: MaybeUnset<&'static str>,
    attempt: MaybeUnset<i64>,
    outcome: MaybeUnset<&'static str>,
    actor: &'a str,
    host: &'a str,
    note: MaybeUnset<&'a str>,
    run_id: MaybeUnset<&'a str>,
    operation_outcome: MaybeUnset<&'static str>,
    correction_number: MaybeUnset<i64>,
    correction_sha256: MaybeUnset<&'a str>,
    correction_order_id: MaybeUnset<i64>,
    correction_body: MaybeUnset<&'a str>,
    correction_status: MaybeUnset<&'static str>,
    corrected_by: MaybeUnset<&'a str>,
    replaced: MaybeUnset<&'a str>,
    #[scylla(rename = "[timestamp]")]
    time: i64,
}

impl<'a> EntryValues<'a> {
    /// Returns the values of an entry written at the write timestamp `time`.
    pub(super) fn of(id: &'a DeadLetterId, entry: &'a HistoryEntry, time: i64) -> Self {
        let claim = entry.correction.as_ref();
        Self {
            day: id.day(),
            bucket: id.bucket(),
            id: id.as_str(),
            at: timestamp(entry.at),
            entry_id: &entry.entry_id,
            action: entry.action.as_str(),
            reason: MaybeUnset::from_option(entry.reason.map(Reason::as_str)),
            attempt: MaybeUnset::from_option(entry.attempt.map(i64::from)),
            outcome: MaybeUnset::from_option(entry.outcome.map(HistoryOutcome::as_str)),
            actor: &entry.actor,
            host: &entry.host,
            note: MaybeUnset::from_option(entry.note.as_deref()),
            run_id: MaybeUnset::from_option(entry.run_id.as_deref()),
            operation_outcome: MaybeUnset::from_option(entry.operation_outcome.map(ActualOutcome::as_str)),
            correction_number: MaybeUnset::from_option(claim.map(|claim| i64::from(claim.number))),
            correction_sha256: MaybeUnset::from_option(claim.map(|claim| claim.sha256.as_str())),
            correction_order_id: MaybeUnset::from_option(claim.map(|claim| claim.order_id.0)),
            correction_body: MaybeUnset::from_option(claim.map(|claim| claim.body.as_str())),
            correction_status: MaybeUnset::from_option(claim.map(|claim| claim.status.as_str())),
            corrected_by: MaybeUnset::from_option(entry.corrected_by.as_deref()),
            replaced: MaybeUnset::from_option(entry.replaced.as_deref()),
            time,
        }
    }
}

/// A row of the history.
#[derive(DeserializeRow)]
#[scylla(flavor = "enforce_order")]
pub(super) struct EntryRow {
    at: CqlTimestamp,
    entry_id: String,
    action: Option<String>,
    reason: Option<String>,
    attempt: Option<i64>,
    outcome: Option<String>,
    actor: Option<String>,
    host: Option<String>,
    note: Option<String>,
    run_id: Option<String>,
    operation_outcome: Option<String>,
    correction_number: Option<i64>,
    correction_sha256: Option<String>,
    correction_order_id: Option<i64>,
    correction_body: Option<String>,
    correction_status: Option<String>,
    corrected_by: Option<String>,
    replaced: Option<String>,
}

impl EntryRow {
    /// Returns the entry; `id` is its dead letter.
    pub(super) fn entry(self, id: &DeadLetterId) -> Result<HistoryEntry, StatementError> {
        let id = id.as_str();
        let claim = |status: &str| {
            Ok::<_, StatementError>(CorrectionClaim {
                number: count(self.correction_number),
                sha256: self.correction_sha256.clone().unwrap_or_default(),
                order_id: OrderId(self.correction_order_id.unwrap_or_default()),
                body: self.correction_body.clone().unwrap_or_default(),
                status: word(id, "correction_status", status, ClaimStatus::parse)?,
            })
        };
        Ok(HistoryEntry {
            at: micros(self.at),
            action: word(id, "action", self.action.as_deref().unwrap_or_default(), HistoryAction::parse)?,
            reason: optional_word(id, "reason", self.reason.as_deref(), Reason::parse)?,
            attempt: self.attempt.map(|attempt| count(Some(attempt))),
            outcome: optional_word(id, "outcome", self.outcome.as_deref(), HistoryOutcome::parse)?,
            operation_outcome: optional_word(
                id,
                "operation_outcome",
                self.operation_outcome.as_deref(),
                ActualOutcome::parse,
            )?,
            correction: self.correction_status.as_deref().map(claim).transpose()?,
            entry_id: self.entry_id,
            actor: self.actor.unwrap_or_default(),
            host: self.host.unwrap_or_default(),
            note: self.note,
            run_id: self.run_id,
            corrected_by: self.corrected_by,
            replaced: self.replaced,
        })
    }
}
