//! The history of a dead letter: its audit log.

use super::correction::CorrectionClaim;
use crate::actual_outcome::ActualOutcome;

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

/// An entry of a dead letter's history; append-only. Programs read the typed fields; `outcome` and `note`
/// are for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryEntry {
    /// The time of the action, by the actor's clock, in microseconds since the epoch.
    pub at: i64,
    /// An opaque key, unique within the dead letter: a repeated write with the same key is the same entry.
    pub entry_id: String,
    /// The action.
    pub action: HistoryAction,
    /// The result of the action, in words.
    pub outcome: String,
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
}
