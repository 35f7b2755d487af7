//! History entries as rows.

use rusqlite::{Connection, Row};

use super::super::columns::{optional_word, word};
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::dead_letter::{ClaimStatus, CorrectionClaim, DeadLetterId, HistoryAction, HistoryEntry};
use ecom_domain::order::OrderId;

/// A repeated write of an entry changes nothing.
const WRITE: &str = "INSERT OR IGNORE INTO dead_letter_history
    (dead_letter_id, at, entry_id, action, outcome, actor, host, note, run_id, operation_outcome,
        correction_number, correction_sha256, correction_order_id, correction_status, corrected_by)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
const READ: &str = "SELECT at, entry_id, action, outcome, actor, host, note, run_id, operation_outcome,
        correction_number, correction_sha256, correction_order_id, correction_status, corrected_by
    FROM dead_letter_history WHERE dead_letter_id = ?1 ORDER BY at, entry_id";

/// Writes a history entry.
pub(super) fn write(
    connection: &Connection,
    id: &DeadLetterId,
    entry: &HistoryEntry,
) -> rusqlite::Result<()> {
    let claim = entry.correction.as_ref();
    connection.prepare_cached(WRITE)?.execute((
        id.as_str(),
        entry.at,
        &entry.entry_id,
        entry.action.as_str(),
        &entry.outcome,
        &entry.actor,
        &entry.host,
        &entry.note,
        &entry.run_id,
        entry.operation_outcome.map(ActualOutcome::as_str),
        claim.map(|claim| claim.number),
        claim.map(|claim| &claim.sha256),
        claim.map(|claim| claim.order_id.0),
        claim.map(|claim| claim.status.as_str()),
        &entry.corrected_by,
    ))?;
    Ok(())
}

/// Reads the history of a dead letter, oldest entry first.
pub(super) fn read(connection: &Connection, id: &DeadLetterId) -> rusqlite::Result<Vec<HistoryEntry>> {
    connection.prepare_cached(READ)?.query_map([id.as_str()], entry)?.collect()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<HistoryEntry> {
    Ok(HistoryEntry {
        at: row.get(0)?,
        entry_id: row.get(1)?,
        action: word(row, 2, HistoryAction::parse)?,
        outcome: row.get(3)?,
        actor: row.get(4)?,
        host: row.get(5)?,
        note: row.get(6)?,
        run_id: row.get(7)?,
        operation_outcome: optional_word(row, 8, ActualOutcome::parse)?,
        correction: claim(row)?,
        corrected_by: row.get(13)?,
    })
}

fn claim(row: &Row<'_>) -> rusqlite::Result<Option<CorrectionClaim>> {
    let Some(status) = optional_word(row, 12, ClaimStatus::parse)? else { return Ok(None) };
    Ok(Some(CorrectionClaim {
        number: row.get(9)?,
        sha256: row.get(10)?,
        order_id: OrderId(row.get(11)?),
        status,
    }))
}
