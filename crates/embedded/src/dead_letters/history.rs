//! History entries as rows.

use rusqlite::{Connection, Row, named_params};

use super::super::columns::{optional_word, word};
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::dead_letter::{
    ClaimStatus, CorrectionClaim, DeadLetterId, HistoryAction, HistoryEntry, HistoryOutcome,
};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;

/// A repeated write of an entry changes nothing.
const WRITE: &str = "INSERT OR IGNORE INTO dead_letter_history
    (dead_letter_id, at, entry_id, action, reason, attempt, outcome, actor, host, note, run_id,
        operation_outcome, correction_number, correction_sha256, correction_order_id, correction_body,
        correction_status, corrected_by, replaced)
    VALUES (:dead_letter_id, :at, :entry_id, :action, :reason, :attempt, :outcome, :actor, :host, :note,
        :run_id, :operation_outcome, :correction_number, :correction_sha256, :correction_order_id,
        :correction_body, :correction_status, :corrected_by, :replaced)";
const READ: &str = "SELECT * FROM dead_letter_history WHERE dead_letter_id = ?1 ORDER BY at, entry_id";

/// Writes a history entry.
pub(super) fn write(
    connection: &Connection,
    id: &DeadLetterId,
    entry: &HistoryEntry,
) -> rusqlite::Result<()> {
    let claim = entry.correction.as_ref();
    connection.prepare_cached(WRITE)?.execute(named_params! {
        ":dead_letter_id": id.as_str(),
        ":at": entry.at,
        ":entry_id": entry.entry_id,
        ":action": entry.action.as_str(),
        ":reason": entry.reason.map(Reason::as_str),
        ":attempt": entry.attempt,
        ":outcome": entry.outcome.map(HistoryOutcome::as_str),
        ":actor": entry.actor,
        ":host": entry.host,
        ":note": entry.note,
        ":run_id": entry.run_id,
        ":operation_outcome": entry.operation_outcome.map(ActualOutcome::as_str),
        ":correction_number": claim.map(|claim| claim.number),
        ":correction_sha256": claim.map(|claim| &claim.sha256),
        ":correction_order_id": claim.map(|claim| claim.order_id.0),
        ":correction_body": claim.map(|claim| &claim.body),
        ":correction_status": claim.map(|claim| claim.status.as_str()),
        ":corrected_by": entry.corrected_by,
        ":replaced": entry.replaced,
    })?;
    Ok(())
}

/// Reads the history of a dead letter, oldest entry first.
pub(super) fn read(connection: &Connection, id: &DeadLetterId) -> rusqlite::Result<Vec<HistoryEntry>> {
    connection.prepare_cached(READ)?.query_map([id.as_str()], entry)?.collect()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<HistoryEntry> {
    Ok(HistoryEntry {
        at: row.get("at")?,
        entry_id: row.get("entry_id")?,
        action: word(row, "action", HistoryAction::parse)?,
        reason: optional_word(row, "reason", Reason::parse)?,
        attempt: row.get("attempt")?,
        outcome: optional_word(row, "outcome", HistoryOutcome::parse)?,
        actor: row.get("actor")?,
        host: row.get("host")?,
        note: row.get("note")?,
        run_id: row.get("run_id")?,
        operation_outcome: optional_word(row, "operation_outcome", ActualOutcome::parse)?,
        correction: claim(row)?,
        corrected_by: row.get("corrected_by")?,
        replaced: row.get("replaced")?,
    })
}

fn claim(row: &Row<'_>) -> rusqlite::Result<Option<CorrectionClaim>> {
    let Some(status) = optional_word(row, "correction_status", ClaimStatus::parse)? else { return Ok(None) };
    Ok(Some(CorrectionClaim {
        number: row.get("correction_number")?,
        sha256: row.get("correction_sha256")?,
        order_id: OrderId(row.get("correction_order_id")?),
        body: row.get("correction_body")?,
        status,
    }))
}
