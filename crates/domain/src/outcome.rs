//! What came of a letter in a run of the desk, and the line of its history that says so: a run that
//! was killed is resumed by these lines, so that no letter counts twice.

use super::letter::{HistoryEntry, State};
use super::verdict::Verdict;

/// The state a letter was seen in after a deed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outcome {
    /// Its row shows its event, or a newer one.
    Recovered,
    /// Waiting for its order.
    Waiting,
    /// Open, for a human.
    Parked,
    /// Closed by a human.
    Discarded,
    /// No longer in the ledger.
    Gone,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Recovered, Self::Waiting, Self::Parked, Self::Discarded, Self::Gone];

    /// The word used in tables and in the history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => State::Recovered.as_str(),
            Self::Waiting => State::Waiting.as_str(),
            Self::Parked => State::Parked.as_str(),
            Self::Discarded => State::Discarded.as_str(),
            Self::Gone => "gone",
        }
    }

    /// The outcome a word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }

    /// What the line of a run that says this outcome is named by: one line a letter and run.
    pub fn entry_id(self, run_id: &str) -> String {
        format!("outcome-{run_id}-{}", self.as_str())
    }

    /// The outcome a letter's history tells for this run, where it tells one.
    pub fn told(history: &[HistoryEntry], run_id: &str) -> Option<Self> {
        let told = |line: &HistoryEntry| {
            let rest = line.entry_id.strip_prefix("outcome-")?.strip_prefix(run_id)?;
            Self::parse(rest.strip_prefix('-')?)
        };
        history.iter().rev().find_map(told)
    }

    /// Whether retrying a letter came to what its verdict foretold.
    pub fn is_foretold_by(self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::AppliesNow | Verdict::AlreadyApplied | Verdict::Superseded => self == Self::Recovered,
            Verdict::StillWaiting => matches!(self, Self::Waiting | Self::Parked),
            Verdict::Conflict | Verdict::Poison => self == Self::Parked,
        }
    }
}

impl From<State> for Outcome {
    fn from(state: State) -> Self {
        match state {
            State::Recovered => Self::Recovered,
            State::Waiting => Self::Waiting,
            State::Parked => Self::Parked,
            State::Discarded => Self::Discarded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letter::Action;

    fn line(entry_id: &str) -> HistoryEntry {
        HistoryEntry {
            at: 1,
            entry_id: entry_id.to_owned(),
            action: Action::Attempted,
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
        for outcome in Outcome::ALL {
            let history = [line("received-1"), line(&outcome.entry_id(run)), line("a9")];
            assert_eq!(Outcome::told(&history, run), Some(outcome));
            assert_eq!(Outcome::told(&history, "20240121T100130-00000000"), None);
        }
        assert_eq!(Outcome::told(&[line("outcome-20240121T100130-ffffffff-sold")], run), None);
    }

    #[test]
    fn a_verdict_foretells_where_a_letter_ends() {
        let foretold = |verdict| Outcome::ALL.map(|outcome: Outcome| outcome.is_foretold_by(verdict));
        for closes in [Verdict::AppliesNow, Verdict::AlreadyApplied, Verdict::Superseded] {
            assert_eq!(foretold(closes), [true, false, false, false, false]);
        }
        assert_eq!(foretold(Verdict::StillWaiting), [false, true, true, false, false]);
        for parks in [Verdict::Conflict, Verdict::Poison] {
            assert_eq!(foretold(parks), [false, false, true, false, false]);
        }
    }
}
