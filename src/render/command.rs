//! Next actions as command lines.

use ecom_codec::envelope::rfc3339;
use ecom_dlq::next_action::NextAction;
use ecom_dlq::selection::Selection;
use ecom_domain::bulk_operation::BulkOperation;
use ecom_domain::dead_letter::DeadLetterId;
use ecom_domain::role::Role;

/// The note of a printed discard, which is offered where the row is right.
const DISCARD_NOTE: &str = "the event in the row is the right one";

/// A command line without the flags that name bus and store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// The binary.
    pub binary: &'static str,
    /// Its arguments.
    pub words: Vec<String>,
}

/// Turns a command into text that a shell runs as it stands.
pub type Spell<'s> = &'s (dyn Fn(&Command) -> String + Sync);

impl Command {
    /// A `dlq_handler` command.
    fn dlq_handler<const N: usize>(words: [&str; N]) -> Self {
        Self { binary: Role::DlqHandler.as_str(), words: words.map(str::to_owned).into() }
    }

    fn with(mut self, selection: &Selection) -> Self {
        self.words.extend(selection_words(selection));
        self
    }

    /// The command that resumes a bulk operation.
    pub fn resume(operation: &BulkOperation) -> Self {
        Self::dlq_handler([operation.kind.as_str(), "--resume", operation.id.as_str()])
    }
}

impl From<&NextAction> for Command {
    fn from(action: &NextAction) -> Self {
        match action {
            NextAction::Retry { selection } => Self::dlq_handler(["retry"]).with(selection),
            NextAction::List { selection } => Self::dlq_handler(["list"]).with(selection),
            NextAction::Show { id } => Self::dlq_handler(["show", id.as_str()]),
            NextAction::SaveBody { id } => {
                Self::dlq_handler(["show", id.as_str(), "--body", "--out", &body_file(id)])
            }
            NextAction::Correct { id } => {
                Self::dlq_handler(["correct", id.as_str(), "--with", &body_file(id)])
            }
            NextAction::Discard { id } => Self::dlq_handler(["discard", id.as_str(), "--note", DISCARD_NOTE]),
            NextAction::Reopen { id } => Self::dlq_handler(["reopen", id.as_str()]),
            NextAction::Explain { order_id } => Self::dlq_handler(["explain", &order_id.to_string()]),
            NextAction::Triage => Self::dlq_handler(["triage"]),
            NextAction::StartRole { role, .. } => Self { binary: role.as_str(), words: Vec::new() },
        }
    }
}

/// The file that a dead letter's body is saved to.
fn body_file(id: &DeadLetterId) -> String {
    format!("{id}.json")
}

/// The arguments that select the same dead letters.
pub fn selection_words(selection: &Selection) -> Vec<String> {
    let mut words: Vec<String> = selection.ids.iter().map(|id| id.as_str().to_owned()).collect();
    let mut filter = |flag: &str, value: Option<String>| {
        words.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
    };
    let states: Vec<&str> = selection.states.iter().map(|state| state.as_str()).collect();
    let states = match selection.states == Selection::open().states {
        true => "open".to_owned(),
        false => states.join(","),
    };
    filter("--state", (!states.is_empty()).then_some(states));
    filter("--reason", selection.reason.map(|reason| reason.as_str().to_owned()));
    filter("--class", selection.class.map(|class| class.as_str().to_owned()));
    filter("--verdict", selection.verdict.map(|verdict| verdict.as_str().to_owned()));
    filter("--order", selection.order.map(|order| order.to_string()));
    filter("--payment", selection.payment.map(|payment| payment.to_string()));
    filter("--since", selection.since.map(rfc3339));
    filter("--until", selection.until.map(rfc3339));
    words
}
