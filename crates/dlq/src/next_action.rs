//! The next actions a person may take, as values: a front end turns each into a command or a link, and its
//! reason into words.

use serde::Serialize;

use super::selection::Selection;
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, DeadLetterState};
use ecom_domain::order::OrderId;
use ecom_domain::role::Role;
use ecom_domain::verdict::Verdict;

/// Something to do about dead letters.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum NextAction {
    /// Retry the selected dead letters.
    Retry {
        /// The dead letters.
        selection: Selection,
    },
    /// List the selected dead letters.
    List {
        /// The dead letters.
        selection: Selection,
    },
    /// Show one dead letter.
    Show {
        /// The dead letter.
        id: DeadLetterId,
    },
    /// Save a dead letter's body, to be corrected.
    SaveBody {
        /// The dead letter.
        id: DeadLetterId,
    },
    /// Publish the corrected body in the dead letter's place.
    Correct {
        /// The dead letter.
        id: DeadLetterId,
    },
    /// Discard a dead letter, with a note.
    Discard {
        /// The dead letter.
        id: DeadLetterId,
    },
    /// Reopen a discarded dead letter.
    Reopen {
        /// The dead letter.
        id: DeadLetterId,
    },
    /// Show the timeline of an order.
    Explain {
        /// The order.
        order_id: OrderId,
    },
    /// Show why dead letters are open.
    Triage,
    /// Start a role.
    StartRole {
        /// The role.
        role: Role,
        /// The host that it last ran on; `None` if it never ran.
        #[serde(skip_serializing_if = "Option::is_none")]
        host: Option<String>,
    },
}

/// The reason to take an action.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum NextReason {
    /// A retry applies them.
    Applies,
    /// A retry closes them: the rows show their events.
    AlreadyApplied,
    /// A retry closes them: the rows show newer events.
    Superseded,
    /// Their orders were never recorded.
    OrderMissing,
    /// Orders may not be recorded at all, or late.
    OrdersMayBeBehind,
    /// The row shows another event of the same event time.
    Conflict,
    /// The row shows the event that is right: give up the dead letter.
    RowIsRight,
    /// The dead letter holds the event that is right: its body, as it is or corrected, is to be published.
    DeadLetterIsRight,
    /// Published a microsecond later than the row's event, it replaces that.
    ReplacesRow,
    /// The body cannot be applied as it is.
    Poison,
    /// The body is to be corrected in a copy.
    CopyToCorrect,
    /// The corrected body replaces the dead letter's.
    PublishesCorrection,
    /// A discarded dead letter can be opened again.
    Discarded,
    /// Dead letters are open.
    DeadLettersOpen,
    /// The role does not run.
    RoleNotRunning,
}

/// An action with its reason.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct NextStep {
    /// The action.
    #[serde(flatten)]
    pub action: NextAction,
    /// The reason to take it.
    pub reason: NextReason,
    /// The action as the front end offers it, such as a command line; `None` until a front end fills it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl NextStep {
    /// An action with its reason, not yet turned into a command.
    pub fn new(action: NextAction, reason: NextReason) -> Self {
        Self { action, reason, command: None }
    }
}

/// The steps that follow from looking at one dead letter.
pub fn after_dead_letter(record: &DeadLetterRecord, verdict: Verdict) -> Vec<NextStep> {
    let (id, order) = (record.dead_letter.id.clone(), record.dead_letter.order_id);
    let retry = || NextAction::Retry { selection: Selection::of_ids([id.clone()]) };
    let about_order = || order.map_or(NextAction::Triage, |order_id| NextAction::Explain { order_id });
    match record.state() {
        DeadLetterState::Recovered => return Vec::new(),
        DeadLetterState::Discarded => {
            return vec![NextStep::new(NextAction::Reopen { id }, NextReason::Discarded)];
        }
        DeadLetterState::Waiting | DeadLetterState::Parked => {}
    }
    match verdict {
        Verdict::AppliesNow => vec![NextStep::new(retry(), NextReason::Applies)],
        Verdict::AlreadyApplied => vec![NextStep::new(retry(), NextReason::AlreadyApplied)],
        Verdict::Superseded => vec![NextStep::new(retry(), NextReason::Superseded)],
        Verdict::StillWaiting => vec![NextStep::new(about_order(), NextReason::OrderMissing)],
        Verdict::Conflict => {
            let mut steps = vec![NextStep::new(about_order(), NextReason::Conflict)];
            steps.extend(choices(&id));
            steps
        }
        Verdict::Poison => vec![
            NextStep::new(NextAction::SaveBody { id: id.clone() }, NextReason::CopyToCorrect),
            NextStep::new(NextAction::Correct { id }, NextReason::PublishesCorrection),
        ],
    }
}

/// The steps for one dead letter that follow from its order's timeline.
pub fn after_timeline(record: &DeadLetterRecord, verdict: Verdict) -> Vec<NextStep> {
    let id = &record.dead_letter.id;
    let show = || NextAction::Show { id: id.clone() };
    match (record.state().is_open(), verdict) {
        (true, Verdict::StillWaiting) => {
            vec![NextStep::new(NextAction::Triage, NextReason::OrdersMayBeBehind)]
        }
        (true, Verdict::Conflict) => {
            let mut steps = vec![NextStep::new(show(), NextReason::Conflict)];
            steps.extend(choices(id));
            steps
        }
        (true, Verdict::Poison) => vec![NextStep::new(show(), NextReason::Poison)],
        (_, _) => after_dead_letter(record, verdict),
    }
}

/// The two ways out of a conflict: keep the row's event, or replace it with the dead letter's.
fn choices(id: &DeadLetterId) -> [NextStep; 3] {
    [
        NextStep::new(NextAction::Discard { id: id.clone() }, NextReason::RowIsRight),
        NextStep::new(NextAction::SaveBody { id: id.clone() }, NextReason::DeadLetterIsRight),
        NextStep::new(NextAction::Correct { id: id.clone() }, NextReason::ReplacesRow),
    ]
}
