//! Dead letters as bound values and as rows.

use std::collections::BTreeMap;

use bytes::Bytes;
use scylla::value::{CqlTimestamp, MaybeUnset};
use scylla::{DeserializeRow, SerializeRow};

use super::super::columns::{count, micros, timestamp, word};
use super::super::errors::StatementError;
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterId, DeadLetterProgress, DeadLetterRecord, DeadLetterState, EventKind, StoredBody,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;

/// The values that `record` binds. Absent values are left unset: a null would write a tombstone, and every
/// copy of a dead letter has the same absent values.
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
    /// Returns the values of a dead letter written at the write timestamp `time`.
    pub(super) fn of(dead_letter: &'a DeadLetter, time: i64) -> Self {
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
            time,
        }
    }
}

/// The bytes of what a dead letter and the first entry of its history have beside body, attributes and detail.
const FIXED_BYTES: usize = 512;

/// Returns about as many bytes as the values of a dead letter and the first entry of its history have.
pub(super) fn bytes(dead_letter: &DeadLetter) -> usize {
    let attributes = dead_letter.attributes.iter().map(|(name, value)| name.len() + value.len());
    FIXED_BYTES + dead_letter.body.bytes.len() + dead_letter.detail.len() + attributes.sum::<usize>()
}

/// A row of the dead letters. Every cell except the id may be null, where an update arrived before its dead
/// letter.
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
    /// Returns the dead letter; `None` where the row has no reason, since an UPDATE creates rows, too.
    pub(super) fn record(self) -> Option<Result<DeadLetterRecord, StatementError>> {
        let reason = self.reason.clone()?;
        Some(self.with_reason(&reason))
    }

    fn with_reason(self, reason: &str) -> Result<DeadLetterRecord, StatementError> {
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
