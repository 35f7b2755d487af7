//! A dead letter in the dead-letter store: what it is, its state, and the acts that change it.

use std::fmt::Write;

use bytes::Bytes;
use chrono::{DateTime, Datelike};
use sha2::{Digest, Sha256};

use super::attributes::Attributes;
use super::event_time::{EventTime, WriteTimestamp};
use super::order::OrderId;
use super::reason::{Class, Reason};

/// Partitions of one day; fixed, since it is part of every dead letter's id.
pub const BUCKETS: u8 = 16;
/// The dead-letter store keeps whole bodies up to this many bytes.
pub const WHOLE_BODY_LIMIT: usize = 1024 * 1024;
/// What the dead-letter store keeps of a larger body: its first 64 KiB.
pub const TRUNCATED_BODY: usize = 64 * 1024;

/// Which source the message came from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EventKind {
    /// An order event.
    Order,
    /// A payment event.
    Payment,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Order, Self::Payment];

    /// The word used in attributes, tables and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Payment => "payment",
        }
    }

    /// The kind a word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// `yyyymmdd-bb-` and 32 hex digits of a hash of (kind, T, body as sent): every copy of one
/// dead letter is one dead letter, and its id names its partition.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeadLetterId(String);

impl DeadLetterId {
    /// Bytes of an id.
    const LENGTH: usize = 8 + 1 + 2 + 1 + 32;

    /// The id of the dead letter with this kind, T and body.
    pub fn of(kind: EventKind, t: EventTime, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(kind.as_str().as_bytes());
        hash.update([0]);
        hash.update(t.micros().to_be_bytes());
        hash.update(body);
        let digest = hash.finalize();
        let mut id = String::with_capacity(Self::LENGTH);
        write!(id, "{:08}-{:02}-", day_of(t), digest[31] % BUCKETS).expect("a string takes all text");
        id.extend(hex(&digest[..16]));
        Self(id)
    }

    /// An id as a person or a table wrote it; `None` where it is not of that form.
    pub fn parse(text: &str) -> Option<Self> {
        let (day, rest) = text.split_once('-')?;
        let (bucket, hash) = rest.split_once('-')?;
        let digits = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
        let hex = hash.len() == 32 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let sound = digits(day, 8) && digits(bucket, 2) && bucket.parse::<u8>().ok()? < BUCKETS && hex;
        sound.then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The day of T, `yyyymmdd` as a number: half of the partition key.
    pub fn day(&self) -> i32 {
        self.0.split('-').next().and_then(|day| day.parse().ok()).unwrap_or_default()
    }

    /// The bucket within the day: the other half of the partition key.
    pub fn bucket(&self) -> i16 {
        self.0.split('-').nth(1).and_then(|bucket| bucket.parse().ok()).unwrap_or_default()
    }
}

impl std::fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The UTC day of T, `yyyymmdd` as a number.
fn day_of(t: EventTime) -> i64 {
    DateTime::from_timestamp_micros(t.micros()).map_or(19_700_101, |time| {
        i64::from(time.year()) * 10_000 + i64::from(time.month() * 100 + time.day())
    })
}

/// SHA-256 of a body, in hex.
pub fn sha256(body: &[u8]) -> String {
    hex(&Sha256::digest(body)).collect()
}

/// Bytes as digits of base 16.
fn hex(bytes: &[u8]) -> impl Iterator<Item = char> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |four_bits: u8| char::from(DIGITS[usize::from(four_bits)]);
    bytes.iter().flat_map(move |byte| [digit(byte >> 4), digit(byte & 0xf)])
}

/// What the dead-letter store keeps of a body.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredBody {
    /// The bytes: all of them up to 1 MiB, else the first 64 KiB.
    pub bytes: Bytes,
    /// Length of the body as sent, in bytes.
    pub length: u64,
    /// SHA-256 of the body as sent, in hex, where `bytes` is not all of it.
    pub sha256: Option<String>,
}

impl StoredBody {
    /// What is kept of this body.
    pub fn keep(body: &Bytes) -> Self {
        let length = body.len() as u64;
        if body.len() <= WHOLE_BODY_LIMIT {
            return Self { bytes: body.clone(), length, sha256: None };
        }
        Self { bytes: body.slice(..TRUNCATED_BODY), length, sha256: Some(sha256(body)) }
    }

    /// Whether all bytes are kept.
    pub fn is_whole(&self) -> bool {
        self.sha256.is_none()
    }
}

impl std::fmt::Debug for StoredBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LetterBody").field("length", &self.length).finish_non_exhaustive()
    }
}

/// The immutable part of a dead letter, written once at T.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// Names the dead letter and its partition.
    pub id: DeadLetterId,
    /// Which source it came from.
    pub kind: EventKind,
    /// T of the original event.
    pub t: EventTime,
    /// The body as sent.
    pub body: StoredBody,
    /// All attributes of the dead letter.
    pub attributes: Attributes,
    /// Why it is here.
    pub reason: Reason,
    /// Field and cause, at most 1 KiB, never the body.
    pub detail: String,
    /// The order it is about, where that could be read.
    pub order_id: Option<OrderId>,
    /// The payment it is, where that could be read.
    pub payment_id: Option<i64>,
    /// When it first failed, microseconds since the epoch.
    pub first_failed_at: i64,
    /// The dead letter whose corrected body this was, by the attribute `dlq_corrects`: it came back.
    pub corrects: Option<DeadLetterId>,
}

/// Where a dead letter stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DeadLetterState {
    /// Retried by itself.
    Waiting,
    /// Open, for a human.
    Parked,
    /// Closed by a human.
    Discarded,
    /// Closed: the row shows this payment, or a newer one.
    Recovered,
}

impl DeadLetterState {
    /// Every state, by rank.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Parked, Self::Discarded, Self::Recovered];

    /// The word used in tables and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Parked => "parked",
            Self::Discarded => "discarded",
            Self::Recovered => "recovered",
        }
    }

    /// The state a word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Precedence within a generation.
    pub fn rank(self) -> u8 {
        match self {
            Self::Waiting => 0,
            Self::Parked => 1,
            Self::Discarded => 2,
            Self::Recovered => 3,
        }
    }

    /// Whether somebody or something still has to act.
    pub fn is_open(self) -> bool {
        match self {
            Self::Waiting | Self::Parked => true,
            Self::Discarded | Self::Recovered => false,
        }
    }
}

/// The state of a dead letter of this reason that nobody has acted on.
pub fn initial_state(reason: Reason) -> DeadLetterState {
    match reason.class() {
        Class::Waiting => DeadLetterState::Waiting,
        Class::Poison | Class::Conflict => DeadLetterState::Parked,
    }
}

/// The mutable cells of a dead letter.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DeadLetterProgress {
    /// The state cell; absent = what the reason says.
    pub state: Option<DeadLetterState>,
    /// Counts `reopen`s.
    pub generation: u32,
    /// When the state was written, by the writer's clock, microseconds: information only.
    pub state_at: Option<i64>,
    /// Attempts scheduled so far.
    pub attempts: u32,
    /// When the next attempt is due, microseconds since the epoch.
    pub next_attempt_at: Option<i64>,
}

/// A dead letter as the dead-letter store reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetterRecord {
    /// What it is.
    pub dead_letter: DeadLetter,
    /// Where it stands.
    pub progress: DeadLetterProgress,
}

impl DeadLetterRecord {
    /// Its present state.
    pub fn state(&self) -> DeadLetterState {
        self.progress.state.unwrap_or_else(|| initial_state(self.dead_letter.reason))
    }

    /// The highest write time of any of its cells: a DELETE at this time removes the dead letter and
    /// nothing that a later act could write.
    pub fn highest_time(&self) -> WriteTimestamp {
        let state = WriteTimestamp::of(self.dead_letter.t, self.progress.generation, self.state().rank());
        state.max(WriteTimestamp::schedule(self.dead_letter.t, self.progress.attempts))
    }
}

/// What was done, in the history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HistoryAction {
    /// A copy arrived on the dead-letter topic.
    ReceivedMessage,
    /// A retry was tried.
    Attempted,
    /// Given up by the handler, or not visible after a successful write.
    Parked,
    /// The row shows this payment, or a newer one.
    Recovered,
    /// Closed by a human.
    Discarded,
    /// Opened again by a human.
    Reopened,
    /// A corrected body was published in its place.
    CorrectionResult,
}

impl HistoryAction {
    /// Every action.
    pub const ALL: [Self; 7] = [
        Self::ReceivedMessage,
        Self::Attempted,
        Self::Parked,
        Self::Recovered,
        Self::Discarded,
        Self::Reopened,
        Self::CorrectionResult,
    ];

    /// The word used in tables and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReceivedMessage => "received",
            Self::Attempted => "attempted",
            Self::Parked => "parked",
            Self::Recovered => "recovered",
            Self::Discarded => "discarded",
            Self::Reopened => "reopened",
            Self::CorrectionResult => "corrected",
        }
    }

    /// The action a word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }
}

/// One line of a dead letter's history; append-only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryEntry {
    /// When, by the actor's clock, microseconds since the epoch.
    pub at: i64,
    /// Makes the line unique within its dead letter, and a repeated write of it idempotent.
    pub entry_id: String,
    /// What was done.
    pub action: HistoryAction,
    /// What came of it, in words.
    pub outcome: String,
    /// Who: a role's name, or a person.
    pub actor: String,
    /// Where.
    pub host: String,
    /// Why, where a human said so.
    pub note: Option<String>,
    /// The run of the operator or handler it belongs to.
    pub run_id: Option<String>,
}

/// What an act changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeadLetterChange {
    /// The state cell, at T + 8·generation + rank.
    State {
        /// The generation the state belongs to.
        generation: u32,
        /// The new state.
        state: DeadLetterState,
        /// By the writer's clock, microseconds: information only.
        at: i64,
    },
    /// The schedule cells, at T + attempts.
    Schedule {
        /// Attempts, this one included.
        attempts: u32,
        /// When the next one is due, microseconds since the epoch.
        next_attempt_at: i64,
    },
    /// Nothing but the history line.
    Nothing,
}

/// One act on a dead letter: a change and its history line, written together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetterUpdate {
    /// Which dead letter.
    pub dead_letter: DeadLetterId,
    /// T of the dead letter.
    pub t: EventTime,
    /// What changes.
    pub change: DeadLetterChange,
    /// The history line.
    pub entry: HistoryEntry,
}

impl DeadLetterUpdate {
    /// The write time of the change, where there is one.
    pub fn time(&self) -> Option<WriteTimestamp> {
        match self.change {
            DeadLetterChange::State { generation, state, .. } => {
                Some(WriteTimestamp::of(self.t, generation, state.rank()))
            }
            DeadLetterChange::Schedule { attempts, .. } => Some(WriteTimestamp::schedule(self.t, attempts)),
            DeadLetterChange::Nothing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_copy_of_a_dead_letter_has_one_id_that_names_its_partition() {
        let t = EventTime::stored(1_705_831_290_000_000);
        let id = DeadLetterId::of(EventKind::Payment, t, b"{}");
        assert_eq!(id, DeadLetterId::of(EventKind::Payment, t, b"{}"));
        assert_ne!(id, DeadLetterId::of(EventKind::Order, t, b"{}"));
        assert_ne!(id, DeadLetterId::of(EventKind::Payment, t.correction(0), b"{}"));
        assert_eq!(id.day(), 20_240_121);
        assert!((0..i16::from(BUCKETS)).contains(&id.bucket()));
        assert_eq!(DeadLetterId::parse(id.as_str()), Some(id));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for bad in
            ["", "20240121", "20240121-99-00000000000000000000000000000000", "20240121-01-xyz", "2024'--"]
        {
            assert_eq!(DeadLetterId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_body_over_the_limit_is_kept_by_its_beginning_length_and_hash() {
        let body = Bytes::from(vec![b'x'; WHOLE_BODY_LIMIT + 1]);
        let kept = StoredBody::keep(&body);
        assert_eq!(kept.bytes.len(), TRUNCATED_BODY);
        assert_eq!(kept.length, body.len() as u64);
        assert_eq!(kept.sha256.as_deref().map(str::len), Some(64));
        assert!(StoredBody::keep(&Bytes::from_static(b"{}")).is_whole());
    }

    #[test]
    fn ranks_follow_the_order_of_precedence() {
        let ranks: Vec<u8> = DeadLetterState::ALL.into_iter().map(DeadLetterState::rank).collect();
        assert_eq!(ranks, [0, 1, 2, 3]);
    }
}
