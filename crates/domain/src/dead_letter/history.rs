//! The history of a dead letter: its audit log.

use super::correction::CorrectionClaim;
use crate::actual_outcome::ActualOutcome;
use crate::reason::Reason;

/// The action that a history entry records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HistoryAction {
    /// A copy was received on the dead-letter topic.
    Received,
    /// A retry was attempted.
    Attempted,
    /// The handler gave up, or a successful write did not become visible.
    Parked,
    /// Closed: the row shows its event, or a newer one.
    Recovered,
    /// Closed by a human.
    Discarded,
    /// Reopened by a human.
    Reopened,
    /// A correction number was claimed or withdrawn for a corrected body.
    Corrected,
}

impl HistoryAction {
    /// Every action.
    pub const ALL: [Self; 7] = [
        Self::Received,
        Self::Attempted,
        Self::Parked,
        Self::Recovered,
        Self::Discarded,
        Self::Reopened,
        Self::Corrected,
    ];

    /// Returns the word used in tables and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Attempted => "attempted",
            Self::Parked => "parked",
            Self::Recovered => "recovered",
            Self::Discarded => "discarded",
            Self::Reopened => "reopened",
            Self::Corrected => "corrected",
        }
    }

    /// Returns the action with this word; `None` for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }
}

/// The result of an attempt or a check, as the history records it. The words of verdicts mean the same here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HistoryOutcome {
    /// The event was written, and the row shows it.
    Applied,
    /// The row showed the event before anything was written.
    AlreadyApplied,
    /// The row shows a newer event.
    Superseded,
    /// The order is not in the fact table.
    StillWaiting,
    /// The order did not arrive within `dead_letters.max_age`.
    MaxAgeExceeded,
    /// The event was written, but the row does not show it.
    NotVisible,
    /// The row shows a different event with the same event time.
    Conflict,
    /// The body is not a valid event.
    Poison,
    /// Its reason or state excludes automatic retries, and no redelivery has applied the event.
    NotRetried,
}

impl HistoryOutcome {
    /// Every outcome.
    pub const ALL: [Self; 9] = [
        Self::Applied,
        Self::AlreadyApplied,
        Self::Superseded,
        Self::StillWaiting,
        Self::MaxAgeExceeded,
        Self::NotVisible,
        Self::Conflict,
        Self::Poison,
        Self::NotRetried,
    ];

    /// Returns the word used in tables and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::AlreadyApplied => "already_applied",
            Self::Superseded => "superseded",
            Self::StillWaiting => "still_waiting",
            Self::MaxAgeExceeded => "max_age_exceeded",
            Self::NotVisible => "not_visible",
            Self::Conflict => "conflict",
            Self::Poison => "poison",
            Self::NotRetried => "not_retried",
        }
    }

    /// Returns the outcome with this word; `None` for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

/// An entry of a dead letter's history; append-only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryEntry {
    /// The time of the action, by the actor's clock, in microseconds since the epoch.
    pub at: i64,
    /// An opaque key, unique within the dead letter: a repeated write with the same key is the same entry.
    pub entry_id: String,
    /// The action.
    pub action: HistoryAction,
    /// The reason that the copy gave; only with [`HistoryAction::Received`].
    pub reason: Option<Reason>,
    /// The number of the scheduled attempt, from 1, which is about to begin.
    pub attempt: Option<u32>,
    /// The result of an attempt or a check.
    pub outcome: Option<HistoryOutcome>,
    /// The role or person that acted.
    pub actor: String,
    /// The host it acted on.
    pub host: String,
    /// The reason that a human gave.
    pub note: Option<String>,
    /// The process run of the handler, or the id of the bulk operation, that wrote the entry.
    pub run_id: Option<String>,
    /// The outcome of the dead letter in the bulk operation `run_id`, which is then done with it.
    pub operation_outcome: Option<ActualOutcome>,
    /// The claim of a correction number; only with [`HistoryAction::Corrected`].
    pub correction: Option<CorrectionClaim>,
    /// The id of the message whose body replaced the dead letter; only with [`HistoryAction::Discarded`].
    pub corrected_by: Option<String>,
    /// The values of the row that the correction was to overwrite, as JSON; only with `corrected_by`.
    pub replaced: Option<String>,
}

impl HistoryEntry {
    /// Returns an entry with nothing but its time, key and action.
    pub fn new(at: i64, entry_id: String, action: HistoryAction) -> Self {
        Self {
            at,
            entry_id,
            action,
            reason: None,
            attempt: None,
            outcome: None,
            actor: String::new(),
            host: String::new(),
            note: None,
            run_id: None,
            operation_outcome: None,
            correction: None,
            corrected_by: None,
            replaced: None,
        }
    }
}
