//! The state of a dead letter and the cells that change over its life.

use super::DeadLetter;
use crate::event_time::WriteTimestamp;
use crate::reason::{Class, Reason};

/// The state of a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DeadLetterState {
    /// Open; the handler retries it on a schedule.
    Waiting,
    /// Open; needs a human's decision.
    Parked,
    /// Closed by a human.
    Discarded,
    /// Closed: the row shows its event, or a newer one.
    Recovered,
}

impl DeadLetterState {
    /// Every state, by rank.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Parked, Self::Discarded, Self::Recovered];

    /// Returns the word used in tables and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Parked => "parked",
            Self::Discarded => "discarded",
            Self::Recovered => "recovered",
        }
    }

    /// Returns the state with this word; `None` for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Returns the precedence within a generation: of two writes the state with the higher rank wins.
    pub fn rank(self) -> u8 {
        match self {
            Self::Waiting => 0,
            Self::Parked => 1,
            Self::Discarded => 2,
            Self::Recovered => 3,
        }
    }

    /// Returns whether the dead letter still needs the handler or a human.
    pub fn is_open(self) -> bool {
        match self {
            Self::Waiting | Self::Parked => true,
            Self::Discarded | Self::Recovered => false,
        }
    }
}

/// Returns the state of a new dead letter with this reason.
pub fn initial_state(reason: Reason) -> DeadLetterState {
    match reason.class() {
        Class::Waiting => DeadLetterState::Waiting,
        Class::Poison | Class::Conflict => DeadLetterState::Parked,
    }
}

/// The cells of a dead letter that change over its life.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DeadLetterProgress {
    /// The state cell; `None` means the initial state of the reason.
    pub state: Option<DeadLetterState>,
    /// The number of times it was reopened.
    pub generation: u32,
    /// The time the state was written, by the writer's clock, in microseconds since the epoch. For people
    /// only: precedence does not depend on it.
    pub state_at: Option<i64>,
    /// The number of attempts scheduled so far.
    pub attempts: u32,
    /// The time the next attempt is due, in microseconds since the epoch.
    pub next_attempt_at: Option<i64>,
}

/// A dead letter with its progress, as read from the dead-letter store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetterRecord {
    /// The immutable part.
    pub dead_letter: DeadLetter,
    /// The cells that change.
    pub progress: DeadLetterProgress,
}

impl DeadLetterRecord {
    /// Returns the current state.
    pub fn state(&self) -> DeadLetterState {
        self.progress.state.unwrap_or_else(|| initial_state(self.dead_letter.reason))
    }

    /// Returns the write timestamp at which the dead letter is removed: that of its state. A delete at this
    /// timestamp removes no cell that a later generation writes.
    pub fn removal_timestamp(&self) -> WriteTimestamp {
        WriteTimestamp::state(self.dead_letter.t, self.progress.generation, self.state().rank())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_follow_the_order_of_precedence() {
        let ranks: Vec<u8> = DeadLetterState::ALL.into_iter().map(DeadLetterState::rank).collect();
        assert_eq!(ranks, [0, 1, 2, 3]);
    }
}
