//! Updates of a dead letter.

use super::{DeadLetterId, DeadLetterState, HistoryEntry};
use crate::event_time::{EventTime, WriteTimestamp};

/// The cells that an update writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    /// The cells to write.
    pub change: DeadLetterChange,
    /// The history entry.
    pub entry: HistoryEntry,
}

impl DeadLetterUpdate {
    /// Returns the write timestamp of the change; `None` where no cell is written.
    pub fn write_timestamp(&self) -> Option<WriteTimestamp> {
        match self.change {
            DeadLetterChange::State { generation, state, .. } => {
                Some(WriteTimestamp::state(self.t, generation, state.rank()))
            }
            DeadLetterChange::Schedule { attempts, .. } => Some(WriteTimestamp::schedule(self.t, attempts)),
            DeadLetterChange::Nothing => None,
        }
    }
}
