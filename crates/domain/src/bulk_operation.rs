//! Bulk operations on dead letters: who changed which dead letters, why, and how far it got. They are the
//! audit log, and `--resume` continues from them.

use super::calendar::date_time;
use super::dead_letter::DeadLetterId;
use super::verdict::Verdict;

/// The id of a bulk operation: `yyyymmddThhmmss-` and 8 hex digits, five for the microsecond and three
/// random ones. Ids sort by start time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OperationId(String);

impl OperationId {
    /// Returns the id of an operation that starts at `started_at`, in microseconds since the epoch. 12 of
    /// the random bits keep two operations of one microsecond apart.
    pub fn new(started_at: i64, random: [u8; 2]) -> Self {
        let time = date_time(started_at);
        let micros = time.timestamp_subsec_micros();
        let random = u16::from_be_bytes(random) & 0xfff;
        Self(format!("{}-{micros:05x}{random:03x}", time.format("%Y%m%dT%H%M%S")))
    }

    /// Parses an id; `None` where `text` is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (time, random) = text.split_once('-')?;
        let (day, second) = time.split_once('T')?;
        let digits = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
        let hex = random.len() == 8 && random.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (digits(day, 8) && digits(second, 6) && hex).then(|| Self(text.to_owned()))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for OperationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kind of a bulk operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum OperationKind {
    /// Retries the dead letters now.
    Retry,
    /// Publishes a corrected body in place of a dead letter.
    Correct,
    /// Discards the dead letters.
    Discard,
    /// Reopens the dead letters.
    Reopen,
}

impl OperationKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Retry, Self::Correct, Self::Discard, Self::Reopen];

    /// Returns the word used in tables and reports, which is also the name of the command.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Correct => "correct",
            Self::Discard => "discard",
            Self::Reopen => "reopen",
        }
    }

    /// Returns the kind with this word; `None` for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// The status of a bulk operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum OperationStatus {
    /// Started; running, or killed.
    Begun,
    /// Stopped early: by Ctrl-C, or because the canary did not match its prediction.
    Stopped,
    /// Done with all its dead letters.
    Finished,
}

impl OperationStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Begun, Self::Stopped, Self::Finished];

    /// Returns the word used in tables and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
        }
    }

    /// Returns the status with this word; `None` for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// A bulk operation, as the audit log keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BulkOperation {
    /// The id.
    pub id: OperationId,
    /// The kind.
    pub kind: OperationKind,
    /// The start time, by the operator's clock, in microseconds since the epoch.
    pub started_at: i64,
    /// The person that started it: `ECOM_ACTOR`, else user@host.
    pub actor: String,
    /// The host it was started on.
    pub host: String,
    /// The selection, in the words of the command line.
    pub selection: String,
    /// The reason that the person gave.
    pub note: Option<String>,
    /// The number of dead letters planned.
    pub dead_letters: u64,
    /// The number of batches of the plan; batches are numbered from 0.
    pub batches: u32,
    /// The status.
    pub state: OperationStatus,
    /// The time it was stopped or finished, in microseconds since the epoch.
    pub ended_at: Option<i64>,
    /// The number of dead letters by outcome, sorted by word; empty until it ended.
    pub outcomes: Vec<(String, u64)>,
    /// The number of times this row was rewritten: the write with the largest revision wins, whatever the
    /// clocks say.
    pub revision: u32,
}

impl BulkOperation {
    /// Returns the write timestamp of this row: `started_at` + revision.
    pub fn written_at(&self) -> i64 {
        self.started_at.saturating_add(i64::from(self.revision))
    }
}

/// A batch of a bulk operation's plan: dead letters selected at its start, each with its predicted verdict.
/// Dead letters that arrive later are in no batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanBatch {
    /// The number of the batch, from 0, in processing order.
    pub number: u32,
    /// The dead letters and their verdicts when the operation started, in processing order.
    pub dead_letters: Vec<(DeadLetterId, Verdict)>,
    /// The number of dead letters by outcome, once the whole batch is done; `None` before.
    pub outcomes: Option<Vec<(String, u64)>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_read_back() {
        let early = OperationId::new(1_705_831_290_999_998, [0xff; 2]);
        let late = OperationId::new(1_705_831_290_999_999, [0; 2]);
        let later = OperationId::new(1_705_831_291_000_000, [0; 2]);
        assert!(early < late && late < later);
        assert_eq!(early.as_str(), "20240121T100130-f423efff");
        assert_eq!(OperationId::parse(early.as_str()), Some(early));
    }

    #[test]
    fn text_that_is_not_an_id_is_refused() {
        for bad in ["", "20240121T100130", "20240121T100130-xyz", "2024-01-21T10:01:30", "a'; DROP"] {
            assert_eq!(OperationId::parse(bad), None, "{bad:?}");
        }
    }
}
