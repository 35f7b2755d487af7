//! Attempts of dead letters: why one is made, and what comes of it.

use ecom_domain::dead_letter::DeadLetterState;

/// The trigger of an attempt, which decides which dead letters it applies to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttemptTrigger {
    /// The retry schedule: waiting dead letters whose next attempt is due.
    Schedule,
    /// A sweep: waiting, parked and discarded dead letters, whenever they are due.
    Sweep,
    /// An operator: open dead letters of any reason. Each attempt writes a history entry with its outcome and
    /// leaves the schedule as it is.
    Operator,
}

impl AttemptTrigger {
    /// The word in spans.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Sweep => "sweep",
            Self::Operator => "operator",
        }
    }
}

/// The state of a dead letter after an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttemptResult {
    /// It is not in the dead-letter store any more.
    Gone,
    /// It is in this state, and no further attempt is scheduled.
    Rests(DeadLetterState),
    /// It still waits; the next attempt is due at this time, microseconds since the epoch.
    Waits(i64),
}

impl AttemptResult {
    /// The state that it is in, for spans.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Rests(state) => state.as_str(),
            Self::Waits(_) => DeadLetterState::Waiting.as_str(),
        }
    }
}
