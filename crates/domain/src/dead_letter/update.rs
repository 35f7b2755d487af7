//! Updates of a dead letter.

use super::{DeadLetter, DeadLetterId, DeadLetterState, HistoryEntry};
use crate::event_time::{EventTime, WriteTimestamp};

/// The cells that an update writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeadLetterChange {
    /// The state cells, at T + 8 × generation + rank.
    State {
        /// The generation that the state belongs to.
        generation: u32,
        /// The new state.
        state: DeadLetterState,
        /// The time by the writer's clock, in microseconds since the epoch; for people only.
        at: i64,
    },
    /// The state cells of the next generation and the immutable cells again, at the same write timestamp: a
    /// removal of the resolved generation, however late, cannot delete what was reopened.
    Reopen {
        /// The new generation.
        generation: u32,
        /// The new state.
        state: DeadLetterState,
        /// The time by the writer's clock, in microseconds since the epoch; for people only.
        at: i64,
        /// The dead letter as it was read.
        dead_letter: Box<DeadLetter>,
    },
    /// The schedule cells, at T + attempts.
    Schedule {
        /// The number of attempts, including this one.
        attempts: u32,
        /// The time the next attempt is due, in microseconds since the epoch.
        next_attempt_at: i64,
    },
    /// No cell: only the history entry is written.
    Nothing,
}

/// An update of a dead letter: a change and its history entry, written together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetterUpdate {
    /// The dead letter.
    pub dead_letter: DeadLetterId,
    /// The event time of the dead letter.
    pub t: EventTime,
    /// The generation of the dead letter when it was read.
    pub generation: u32,
    /// The cells to write.
    pub change: DeadLetterChange,
    /// The history entry.
    pub entry: HistoryEntry,
}

impl DeadLetterUpdate {
    /// Returns the update of a dead letter that was read in this generation.
    pub fn new(
        dead_letter: &DeadLetter,
        generation: u32,
        change: DeadLetterChange,
        entry: HistoryEntry,
    ) -> Self {
        Self { dead_letter: dead_letter.id.clone(), t: dead_letter.t, generation, change, entry }
    }

    /// Returns the write timestamp of the change; `None` where no cell is written.
    pub fn write_timestamp(&self) -> Option<WriteTimestamp> {
        match self.change {
            DeadLetterChange::State { generation, state, .. }
            | DeadLetterChange::Reopen { generation, state, .. } => {
                Some(WriteTimestamp::state(self.t, generation, state.rank()))
            }
            DeadLetterChange::Schedule { attempts, .. } => Some(WriteTimestamp::schedule(self.t, attempts)),
            DeadLetterChange::Nothing => None,
        }
    }

    /// Returns the write timestamp of the history entry: within its generation, so that a removal deletes the
    /// entries of the resolved generation and of earlier ones, and no others.
    pub fn entry_timestamp(&self) -> WriteTimestamp {
        match self.change {
            DeadLetterChange::State { generation, state, .. }
            | DeadLetterChange::Reopen { generation, state, .. } => {
                WriteTimestamp::state(self.t, generation, state.rank())
            }
            DeadLetterChange::Schedule { .. } | DeadLetterChange::Nothing => {
                WriteTimestamp::state(self.t, self.generation, DeadLetterState::Waiting.rank())
            }
        }
    }
}
