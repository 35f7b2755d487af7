//! A dead letter in one row, as lists show and export it.

use serde::Serialize;

use super::body::BodyText;
use super::selection::SelectedDeadLetter;
use super::times::{self, age_seconds};
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterState, EventKind};
use ecom_domain::order::OrderId;
use ecom_domain::reason::{Class, Reason};
use ecom_domain::verdict::Verdict;

/// The treatment of bodies in rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bodies {
    /// Only their lengths.
    Omitted,
    /// The stored bytes, as text or in base64.
    Included,
}

/// A dead letter in one row. Serialises as a flat record, in JSON and in CSV.
#[derive(Serialize)]
pub struct DeadLetterRow<'l> {
    id: &'l DeadLetterId,
    state: DeadLetterState,
    reason: Reason,
    class: Class,
    verdict: Option<Verdict>,
    kind: EventKind,
    order_id: Option<OrderId>,
    payment_id: Option<i64>,
    #[serde(serialize_with = "times::serialize")]
    event_time: i64,
    event_time_us: i64,
    #[serde(serialize_with = "times::serialize")]
    first_failed_at: i64,
    age_seconds: i64,
    attempts: u32,
    #[serde(serialize_with = "times::optional::serialize")]
    next_attempt_at: Option<i64>,
    reopened: u32,
    corrects: Option<&'l DeadLetterId>,
    detail: &'l str,
    body_length: u64,
    body_sha256: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<BodyText<'l>>,
}

impl<'l> DeadLetterRow<'l> {
    /// The names of a row's columns, in order.
    pub const COLUMNS: [&'static str; 19] = [
        "id",
        "state",
        "reason",
        "class",
        "verdict",
        "kind",
        "order_id",
        "payment_id",
        "event_time",
        "event_time_us",
        "first_failed_at",
        "age_seconds",
        "attempts",
        "next_attempt_at",
        "reopened",
        "corrects",
        "detail",
        "body_length",
        "body_sha256",
    ];
    /// The names of the columns after those, if bodies are included.
    pub const BODY_COLUMNS: [&'static str; 2] = ["body_encoding", "body"];

    /// The row of a dead letter at `now`, microseconds since the epoch.
    pub fn of(selected: &'l SelectedDeadLetter, now: i64, bodies: Bodies) -> Self {
        let (dead_letter, progress) = (&selected.record.dead_letter, &selected.record.progress);
        let body = (bodies == Bodies::Included).then(|| BodyText::of(&dead_letter.body.bytes));
        Self {
            id: &dead_letter.id,
            state: selected.record.state(),
            reason: dead_letter.reason,
            class: dead_letter.reason.class(),
            verdict: selected.verdict,
            kind: dead_letter.kind,
            order_id: dead_letter.order_id,
            payment_id: dead_letter.payment_id,
            event_time: dead_letter.t.micros(),
            event_time_us: dead_letter.t.micros(),
            first_failed_at: dead_letter.first_failed_at,
            age_seconds: age_seconds(dead_letter.first_failed_at, now),
            attempts: progress.attempts,
            next_attempt_at: progress.next_attempt_at,
            reopened: progress.generation,
            corrects: dead_letter.corrects.as_ref(),
            detail: &dead_letter.detail,
            body_length: dead_letter.body.length,
            body_sha256: dead_letter.body.sha256.as_deref(),
            body_encoding: body.as_ref().map(BodyText::encoding),
            body,
        }
    }
}
