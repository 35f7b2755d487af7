//! The outcome of a dead letter in a bulk operation, compared with its prediction and kept in its history.

use super::dead_letter::{DeadLetterState, HistoryEntry};
use super::verdict::Verdict;

/// The state of a dead letter after a bulk operation has processed it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ActualOutcome {
    /// The row shows its event, or a newer one.
    Recovered,
    /// Waiting for its order.
    Waiting,
    /// Open; needs a human's decision.
    Parked,
    /// Closed by a human.
    Discarded,
    /// No longer in the dead-letter store.
    Gone,
}

impl ActualOutcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Recovered, Self::Waiting, Self::Parked, Self::Discarded, Self::Gone];

    /// Returns the word used in tables and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => DeadLetterState::Recovered.as_str(),
            Self::Waiting => DeadLetterState::Waiting.as_str(),
            Self::Parked => DeadLetterState::Parked.as_str(),
            Self::Discarded => DeadLetterState::Discarded.as_str(),
            Self::Gone => "gone",
        }
    }

    /// Returns the outcome with this word; `None` for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }

    /// Returns the id of the history entry that records this outcome in the bulk operation `run_id`: the
    /// same for every write of it.
    pub fn entry_id(self, run_id: &str) -> String {
        format!("outcome-{run_id}-{}", self.as_str())
    }

    /// Returns the outcome that a history records for the bulk operation `run_id`; `None` where the
    /// operation is not done with the dead letter. A resumed operation skips those with an outcome, so
    /// that none is counted twice.
    pub fn recorded(history: &[HistoryEntry], run_id: &str) -> Option<Self> {
        let mut of_operation = history.iter().rev().filter(|entry| entry.run_id.as_deref() == Some(run_id));
        of_operation.find_map(|entry| entry.operation_outcome)
    }

    /// Returns whether a retry ended as its verdict predicted.
    pub fn matches_prediction(self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::AppliesNow | Verdict::AlreadyApplied | Verdict::Superseded => self == Self::Recovered,
            Verdict::StillWaiting => matches!(self, Self::Waiting | Self::Parked),
            Verdict::Conflict | Verdict::Poison => self == Self::Parked,
        }
    }
}

impl From<DeadLetterState> for ActualOutcome {
    fn from(state: DeadLetterState) -> Self {
        match state {
            DeadLetterState::Recovered => Self::Recovered,
            DeadLetterState::Waiting => Self::Waiting,
            DeadLetterState::Parked => Self::Parked,
            DeadLetterState::Discarded => Self::Discarded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::HistoryAction;

    fn entry(entry_id: &str, run_id: Option<&str>, operation_outcome: Option<ActualOutcome>) -> HistoryEntry {
        HistoryEntry {
            run_id: run_id.map(str::to_owned),
            operation_outcome,
            ..HistoryEntry::new(1, entry_id.to_owned(), HistoryAction::Attempted)
        }
    }

    #[test]
    fn an_entry_records_the_outcome_of_its_own_operation_only() {
        let run = "20240121T100130-ffffffff";
        for outcome in ActualOutcome::ALL {
            assert_eq!(ActualOutcome::parse(outcome.as_str()), Some(outcome));
            let recorded = entry(&outcome.entry_id(run), Some(run), Some(outcome));
            let history = [entry("received-1", Some("a"), None), recorded, entry("a9", Some(run), None)];
            assert_eq!(ActualOutcome::recorded(&history, run), Some(outcome));
            assert_eq!(ActualOutcome::recorded(&history, "20240121T100130-00000000"), None);
        }
        assert_eq!(ActualOutcome::parse("sold"), None);
        let key_alone = entry("outcome-20240121T100130-ffffffff-recovered", Some(run), None);
        assert_eq!(ActualOutcome::recorded(&[key_alone], run), None);
    }

    #[test]
    fn a_verdict_predicts_the_outcome_of_a_retry() {
        let predicted =
            |verdict| ActualOutcome::ALL.map(|outcome: ActualOutcome| outcome.matches_prediction(verdict));
        for closes in [Verdict::AppliesNow, Verdict::AlreadyApplied, Verdict::Superseded] {
            assert_eq!(predicted(closes), [true, false, false, false, false]);
        }
        assert_eq!(predicted(Verdict::StillWaiting), [false, true, true, false, false]);
        for parks in [Verdict::Conflict, Verdict::Poison] {
            assert_eq!(predicted(parks), [false, false, true, false, false]);
        }
    }
}
