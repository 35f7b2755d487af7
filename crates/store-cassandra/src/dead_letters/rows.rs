//! Dead letters and history lines as values that are bound and rows that are read.

use std::collections::BTreeMap;

use bytes::Bytes;
use scylla::value::{CqlTimestamp, MaybeUnset};
use scylla::{DeserializeRow, SerializeRow};

use super::super::errors::Cause;
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterId, DeadLetterProgress, DeadLetterRecord, DeadLetterState, EventKind,
    HistoryAction, HistoryEntry, StoredBody,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;

/// A wall time of the domain, in microseconds, as CQL keeps it, in milliseconds.
pub(in super::super) fn timestamp(micros: i64) -> CqlTimestamp {
    CqlTimestamp(micros.div_euclid(1_000))
}

/// A wall time as the domain keeps it.
pub(in super::super) fn micros(timestamp: CqlTimestamp) -> i64 {
    timestamp.0.saturating_mul(1_000)
}

/// What `record` binds. What is absent is left unset: null would be a tombstone, and every copy of
/// a dead letter has the same ones absent.
#[derive(SerializeRow)]
#[scylla(flavor = "enforce_order")]
pub(super) struct DeadLetterValues<'a> {
    day: i32,
    bucket: i16,
    id: &'a str,
    kind: &'static str,
    t: i64,
    body: &'a [u8],
    body_length: i64,
    body_sha256: MaybeUnset<&'a str>,
    attributes: BTreeMap<&'a str, &'a str>,
    reason: &'static str,
    detail: &'a str,
    order_id: MaybeUnset<i64>,
    payment_id: MaybeUnset<i64>,
    first_failed_at: CqlTimestamp,
    corrects: MaybeUnset<&'a str>,
    #[scylla(rename = "[timestamp]")]
    time: i64,
}

impl<'a> DeadLetterValues<'a> {
    pub(super) fn of(dead_letter: &'a DeadLetter) -> Self {
        Self {
            day: dead_letter.id.day(),
            bucket: dead_letter.id.bucket(),
            id: dead_letter.id.as_str(),
            kind: dead_letter.kind.as_str(),
            t: dead_letter.t.micros(),
            body: &dead_letter.body.bytes,
            body_length: i64::try_from(dead_letter.body.length).unwrap_or(i64::MAX),
            body_sha256: MaybeUnset::from_option(dead_letter.body.sha256.as_deref()),
            attributes: dead_letter.attributes.iter().collect(),
            reason: dead_letter.reason.as_str(),
            detail: &dead_letter.detail,
            order_id: MaybeUnset::from_option(dead_letter.order_id.map(|id| id.0)),
            payment_id: MaybeUnset::from_option(dead_letter.payment_id),
            first_failed_at: timestamp(dead_letter.first_failed_at),
            corrects: MaybeUnset::from_option(dead_letter.corrects.as_ref().map(DeadLetterId::as_str)),
            time: dead_letter.t.micros(),
        }
    }
}

/// What a history line binds, written at `time`.
#[derive(SerializeRow)]
#[scylla(flavor = "enforce_order")]
pub(super) struct EntryValues<'a> {
    day: i32,
    bucket: i16,
    id: &'a str,
    at: CqlTimestamp,
    entry_id: &'a str,
    action: &'static str,
    outcome: &'a str,
    actor: &'a str,
    host: &'a str,
    note: MaybeUnset<&'a str>,
    run_id: MaybeUnset<&'a str>,
    #[scylla(rename = "[timestamp]")]
    time: i64,
}

impl<'a> EntryValues<'a> {
    pub(super) fn of(id: &'a DeadLetterId, entry: &'a HistoryEntry, time: i64) -> Self {
        Self {
            day: id.day(),
            bucket: id.bucket(),
            id: id.as_str(),
            at: timestamp(entry.at),
            entry_id: &entry.entry_id,
            action: entry.action.as_str(),
            outcome: &entry.outcome,
            actor: &entry.actor,
            host: &entry.host,
            note: MaybeUnset::from_option(entry.note.as_deref()),
            run_id: MaybeUnset::from_option(entry.run_id.as_deref()),
            time,
        }
    }
}

/// A row of the dead letters; every cell but the id may be absent where an act came before its dead letter.
#[derive(DeserializeRow)]
#[scylla(flavor = "enforce_order")]
pub(super) struct DeadLetterRow {
    id: String,
    kind: Option<String>,
    t: Option<i64>,
    body: Option<Vec<u8>>,
    body_length: Option<i64>,
    body_sha256: Option<String>,
    attributes: Option<BTreeMap<String, String>>,
    reason: Option<String>,
    detail: Option<String>,
    order_id: Option<i64>,
    payment_id: Option<i64>,
    first_failed_at: Option<CqlTimestamp>,
    corrects: Option<String>,
    state: Option<String>,
    generation: Option<i64>,
    state_at: Option<CqlTimestamp>,
    attempts: Option<i64>,
    next_attempt_at: Option<CqlTimestamp>,
}

impl DeadLetterRow {
    /// The dead letter; none where the row has no reason, since an UPDATE creates rows, too.
    pub(super) fn record(self) -> Option<Result<DeadLetterRecord, Cause>> {
        let reason = self.reason.clone()?;
        Some(self.with_reason(&reason))
    }

    fn with_reason(self, reason: &str) -> Result<DeadLetterRecord, Cause> {
        let row = self.id;
        let kind = self.kind.unwrap_or_default();
        let corrects =
            self.corrects.map(|of| word(&row, "corrects", &of, DeadLetterId::parse)).transpose()?;
        let dead_letter = DeadLetter {
            id: word(&row, "id", &row, DeadLetterId::parse)?,
            kind: word(&row, "kind", &kind, EventKind::parse)?,
            t: EventTime::stored(self.t.unwrap_or_default()),
            body: StoredBody {
                bytes: Bytes::from(self.body.unwrap_or_default()),
                length: u64::try_from(self.body_length.unwrap_or_default()).unwrap_or_default(),
                sha256: self.body_sha256,
            },
            attributes: self.attributes.unwrap_or_default().into_iter().collect(),
            reason: word(&row, "reason", reason, Reason::parse)?,
            detail: self.detail.unwrap_or_default(),
            order_id: self.order_id.map(OrderId),
            payment_id: self.payment_id,
            first_failed_at: self.first_failed_at.map(micros).unwrap_or_default(),
            corrects,
        };
        let state =
            self.state.map(|state| word(&row, "state", &state, DeadLetterState::parse)).transpose()?;
        let progress = DeadLetterProgress {
            state,
            generation: count(self.generation),
            state_at: self.state_at.map(micros),
            attempts: count(self.attempts),
            next_attempt_at: self.next_attempt_at.map(micros),
        };
        Ok(DeadLetterRecord { dead_letter, progress })
    }
}

/// A row of the history.
#[derive(DeserializeRow)]
#[scylla(flavor = "enforce_order")]
pub(super) struct EntryRow {
    at: CqlTimestamp,
    entry_id: String,
    action: Option<String>,
    outcome: Option<String>,
    actor: Option<String>,
    host: Option<String>,
    note: Option<String>,
    run_id: Option<String>,
}

impl EntryRow {
    pub(super) fn entry(self, id: &DeadLetterId) -> Result<HistoryEntry, Cause> {
        Ok(HistoryEntry {
            at: micros(self.at),
            entry_id: self.entry_id,
            action: word(id.as_str(), "action", &self.action.unwrap_or_default(), HistoryAction::parse)?,
            outcome: self.outcome.unwrap_or_default(),
            actor: self.actor.unwrap_or_default(),
            host: self.host.unwrap_or_default(),
            note: self.note,
            run_id: self.run_id,
        })
    }
}

/// A stored word as the value it names.
pub(in super::super) fn word<T>(
    id: &str,
    column: &'static str,
    value: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Cause> {
    parse(value).ok_or_else(|| Cause::Word { id: id.to_owned(), column, value: value.to_owned() })
}

/// A cell that counts; absent counts nothing.
pub(in super::super) fn count(cell: Option<i64>) -> u32 {
    cell.map_or(0, |count| u32::try_from(count.max(0)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_time_is_kept_to_the_millisecond() {
        assert_eq!(micros(timestamp(1_705_831_290_123_456)), 1_705_831_290_123_000);
        assert_eq!(micros(timestamp(-1)), -1_000);
    }
}
