//! What a person may run next: commands as values, which the application spells so that they run as
//! they stand, each with what it is good for.

use super::selection::Selection;
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, DeadLetterState};
use ecom_domain::order::OrderId;
use ecom_domain::verdict::Verdict;

/// A command line without the flags that name bus and store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// The binary.
    pub binary: &'static str,
    /// Its arguments.
    pub words: Vec<String>,
}

/// Turns a command into text that runs as it stands.
pub type Spell<'s> = &'s (dyn Fn(&Command) -> String + Sync);

/// A command, and what it is good for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// What to run.
    pub command: Command,
    /// What comes of it, in words.
    pub why: String,
}

impl Command {
    /// Starts a role.
    pub fn start(role: &'static str) -> Self {
        Self { binary: role, words: Vec::new() }
    }

    /// Says why dead letters are there, and what retrying each would do.
    pub fn triage() -> Self {
        Self::queue(["triage"])
    }

    /// Tries the selected dead letters.
    pub fn retry(selection: &Selection) -> Self {
        Self::queue(["retry"]).with(selection.words())
    }

    /// Lists the selected dead letters.
    pub fn list(selection: &Selection) -> Self {
        Self::queue(["list"]).with(selection.words())
    }

    /// Shows a dead letter.
    pub fn show(id: &DeadLetterId) -> Self {
        Self::queue(["show", id.as_str()])
    }

    /// Writes a dead letter's body into a file.
    pub fn save_body(id: &DeadLetterId) -> Self {
        Self::queue(["show", id.as_str(), "--body", "--out", &body_file(id)])
    }

    /// Publishes the body in that file in the dead letter's place.
    pub fn correct(id: &DeadLetterId) -> Self {
        Self::queue(["correct", id.as_str(), "--with", &body_file(id)])
    }

    /// Closes a dead letter, with a note to be replaced by the reason.
    pub fn discard(id: &DeadLetterId) -> Self {
        Self::queue(["discard", id.as_str(), "--note", "<why>"])
    }

    /// Opens a discarded dead letter again.
    pub fn reopen(id: &DeadLetterId) -> Self {
        Self::queue(["reopen", id.as_str()])
    }

    /// Tells all about an order.
    pub fn explain(order: OrderId) -> Self {
        Self::queue(["explain", &order.to_string()])
    }

    fn queue<const N: usize>(words: [&str; N]) -> Self {
        Self { binary: "dlq_handler", words: words.map(str::to_owned).into() }
    }

    fn with(mut self, words: Vec<String>) -> Self {
        self.words.extend(words);
        self
    }
}

/// Where a dead letter's body is written for somebody to correct it.
fn body_file(id: &DeadLetterId) -> String {
    format!("{id}.json")
}

impl Step {
    /// A command with its reason.
    pub fn new(command: Command, why: impl Into<String>) -> Self {
        Self { command, why: why.into() }
    }
}

/// What to run after looking at one dead letter.
pub fn after_dead_letter(record: &DeadLetterRecord, verdict: Verdict) -> Vec<Step> {
    let dead_letter = &record.dead_letter;
    let alone = Selection { ids: vec![dead_letter.id.clone()], ..Selection::default() };
    match record.state() {
        DeadLetterState::Recovered => return Vec::new(),
        DeadLetterState::Discarded => {
            let closed = format!("opens it again; a retry would then find: {}", verdict.as_str());
            return vec![Step::new(Command::reopen(&dead_letter.id), closed)];
        }
        DeadLetterState::Waiting | DeadLetterState::Parked => {}
    }
    let about_order = |why: &str| match dead_letter.order_id {
        Some(order) => Step::new(Command::explain(order), why),
        None => Step::new(Command::triage(), why),
    };
    match verdict {
        Verdict::AppliesNow => vec![Step::new(Command::retry(&alone), "applies it")],
        Verdict::AlreadyApplied => vec![Step::new(Command::retry(&alone), "closes it: the row shows it")],
        Verdict::Superseded => {
            vec![Step::new(Command::retry(&alone), "closes it: the row shows a newer event")]
        }
        Verdict::StillWaiting => vec![about_order("all that is known of its order")],
        Verdict::Conflict => {
            let mut steps = vec![about_order("both events of the same time, to choose between")];
            steps.extend(choices(&dead_letter.id));
            steps
        }
        Verdict::Poison => vec![
            Step::new(Command::save_body(&dead_letter.id), "a copy of the body, to be corrected"),
            Step::new(Command::correct(&dead_letter.id), "shows the difference, then publishes it instead"),
        ],
    }
}

/// Either event of a time may be the right one.
fn choices(id: &DeadLetterId) -> [Step; 3] {
    [
        Step::new(Command::discard(id), "where the row shows the right one"),
        Step::new(Command::save_body(id), "where this one is right: its body, as it is or corrected,"),
        Step::new(Command::correct(id), "is published a microsecond later, and replaces the other"),
    ]
}

/// What to run for a dead letter after everything about its order was told.
pub fn after_order(record: &DeadLetterRecord, verdict: Verdict) -> Vec<Step> {
    let id = &record.dead_letter.id;
    match (record.state().is_open(), verdict) {
        (true, Verdict::StillWaiting) => {
            vec![Step::new(Command::triage(), "whether orders are being recorded, or are behind")]
        }
        (true, Verdict::Conflict) => {
            let mut steps = vec![Step::new(Command::show(id), "the event that is not in the row")];
            steps.extend(choices(id));
            steps
        }
        (true, Verdict::Poison) => vec![Step::new(Command::show(id), "what is wrong with it")],
        (_, _) => after_dead_letter(record, verdict),
    }
}
