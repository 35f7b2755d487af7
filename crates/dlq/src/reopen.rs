//! Undoing a discard or a park: the next generation of states begins.

use ecom_domain::letter::{Action, Change, LetterId, State};
use ecom_domain::outcome::Outcome;
use ecom_pipeline::assess::subject;
use ecom_pipeline::durable::Halt;
use ecom_pipeline::settler::Settler;

/// Opens a letter again. One that can be applied waits, and has its time again; one whose body is no
/// event is parked, for a human to correct.
pub(super) async fn reopen(settler: &Settler, id: &LetterId) -> Result<(), Halt> {
    let Some(record) = settler.letter(id).await? else { return Ok(()) };
    let can_apply = subject(&record.letter).is_some();
    let state = match (record.state(), can_apply) {
        (State::Waiting | State::Recovered, _) => return Ok(()),
        (State::Parked | State::Discarded, true) => State::Waiting,
        (State::Parked | State::Discarded, false) => State::Parked,
    };
    if state == record.state() {
        let line = settler.outcome(Action::Attempted, "its body is no event: correct it", Outcome::Parked);
        return settler.act(&record, Change::Nothing, line).await;
    }
    let generation = record.progress.generation.saturating_add(1);
    let line = settler.outcome(Action::Reopened, "reopened", Outcome::from(state));
    settler.act(&record, settler.becomes(generation, state), line).await
}
