//! A run of the operator: who changed which dead letters, why, and how far it came. The audit, and what
//! `--resume` goes on from.

use super::dead_letter::DeadLetterId;
use super::verdict::Verdict;

/// `yyyymmddThhmmss-` and 8 hex digits, five of them the microsecond: sorts by when the run began.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OperationId(String);

impl OperationId {
    /// The id of a run that begins now; 12 random bits keep two of one microsecond apart.
    pub fn new(started_at: i64, random: [u8; 2]) -> Self {
        let time = chrono::DateTime::from_timestamp_micros(started_at).unwrap_or_default();
        let micros = time.timestamp_subsec_micros();
        let random = u16::from_be_bytes(random) & 0xfff;
        Self(format!("{}-{micros:05x}{random:03x}", time.format("%Y%m%dT%H%M%S")))
    }

    /// An id as a person or a table wrote it; `None` where it is not of that form.
    pub fn parse(text: &str) -> Option<Self> {
        let (time, random) = text.split_once('-')?;
        let (day, second) = time.split_once('T')?;
        let digits = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
        let hex = random.len() == 8 && random.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (digits(day, 8) && digits(second, 6) && hex).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for OperationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a run does to its dead letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum OperationKind {
    /// Tries them now.
    Retry,
    /// Publishes a corrected body in their place.
    Correct,
    /// Closes them.
    Discard,
    /// Opens them again.
    Reopen,
}

impl OperationKind {
    /// Every deed.
    pub const ALL: [Self; 4] = [Self::Retry, Self::Correct, Self::Discard, Self::Reopen];

    /// The word used in tables and reports; also the command's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Correct => "correct",
            Self::Discard => "discard",
            Self::Reopen => "reopen",
        }
    }

    /// The deed a word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// How a run stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum OperationStatus {
    /// Begun; running, or killed.
    Begun,
    /// Stopped before its end: by Ctrl-C, or because the canary differed.
    Stopped,
    /// Done with all its dead letters.
    Finished,
}

impl OperationStatus {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Begun, Self::Stopped, Self::Finished];

    /// The word used in tables and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
        }
    }

    /// The state a word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// One run, as the audit keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BulkOperation {
    /// Names the run.
    pub id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// When it began, by the operator's clock, microseconds since the epoch.
    pub started_at: i64,
    /// Who: `ECOM_ACTOR`, else user@host.
    pub actor: String,
    /// Where.
    pub host: String,
    /// What was selected, in the words of the command line.
    pub selection: String,
    /// Why, where a human said so.
    pub note: Option<String>,
    /// Dead letters planned.
    pub dead_letters: u64,
    /// Batches the plan was written in, numbered from 0.
    pub batches: u32,
    /// How it stands.
    pub state: OperationStatus,
    /// When it was stopped or finished.
    pub ended_at: Option<i64>,
    /// Dead letters by what came of them, sorted by word; empty until it ended.
    pub outcomes: Vec<(String, u64)>,
    /// Counts the writes of this row, so that the later one stays whatever clock wrote it.
    pub revision: u32,
}

impl BulkOperation {
    /// The write time of this row: `started_at` + revision.
    pub fn written_at(&self) -> i64 {
        self.started_at.saturating_add(i64::from(self.revision))
    }
}

/// A part of a run's plan: the dead letters as they were when it began, which bounds it to those, and
/// what was predicted of each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanBatch {
    /// From 0, in the order they are worked through.
    pub number: u32,
    /// Dead letters and their verdicts when the run began.
    pub dead_letters: Vec<(DeadLetterId, Verdict)>,
    /// Dead letters by what came of them, once all of them are done; `None` before.
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
    fn what_is_no_id_is_refused() {
        for bad in ["", "20240121T100130", "20240121T100130-xyz", "2024-01-21T10:01:30", "a'; DROP"] {
            assert_eq!(OperationId::parse(bad), None, "{bad:?}");
        }
    }
}
