//! What came of a dead letter in a run of the operator, and the line of its history that says so: a run that
//! was killed is resumed by these lines, so that no dead letter counts twice.

use super::dead_letter::{DeadLetterState, HistoryEntry};
use super::verdict::Verdict;

/// The state a dead letter was seen in after a deed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ActualOutcome {
    /// Its row shows its event, or a newer one.
    Recovered,
    /// Waiting for its order.
    Waiting,
    /// Open, for a human.
    Parked,
    /// Closed by a human.
    Discarded,
    /// No longer in the dead-letter store.
    Gone,
}

impl ActualOutcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Recovered, Self::Waiting, Self::Parked, Self::Discarded, Self::Gone];

    /// The word used in tables and in the history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => DeadLetterState::Recovered.as_str(),
            Self::Waiting => DeadLetterState::Waiting.as_str(),
            Self::Parked => DeadLetterState::Parked.as_str(),
            Self::Discarded => DeadLetterState::Discarded.as_str(),
            Self::Gone => "gone",
        }
    }

    /// The outcome a word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }

    /// What the line of a run that says this outcome is named by: one line a dead letter and run.
    pub fn entry_id(self, run_id: &str) -> String {
        format!("outcome-{run_id}-{}", self.as_str())
    }

    /// The outcome a dead letter's history tells for this run, where it tells one.
    pub fn recorded(history: &[HistoryEntry], run_id: &str) -> Option<Self> {
        let recorded = |line: &HistoryEntry| {
            let rest = line.entry_id.strip_prefix("outcome-")?.strip_prefix(run_id)?;
            Self::parse(rest.strip_prefix('-')?)
        };
        history.iter().rev().find_map(recorded)
    }

    /// Whether retrying a dead letter came to what its verdict predicted.
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

    fn line(entry_id: &str) -> HistoryEntry {
        HistoryEntry {
            at: 1,
            entry_id: entry_id.to_owned(),
            action: HistoryAction::Attempted,
            outcome: String::new(),
            actor: String::new(),
            host: String::new(),
            note: None,
            run_id: None,
        }
    }

    #[test]
    fn a_line_tells_the_outcome_of_its_own_run_only() {
        let run = "20240121T100130-ffffffff";
        for outcome in ActualOutcome::ALL {
            let history = [line("received-1"), line(&outcome.entry_id(run)), line("a9")];
            assert_eq!(ActualOutcome::recorded(&history, run), Some(outcome));
            assert_eq!(ActualOutcome::recorded(&history, "20240121T100130-00000000"), None);
        }
        assert_eq!(ActualOutcome::recorded(&[line("outcome-20240121T100130-ffffffff-sold")], run), None);
    }

    #[test]
    fn a_verdict_foretells_where_a_dead_letter_ends() {
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
