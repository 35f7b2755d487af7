//! Closing a letter by a human's word.

use ecom_domain::letter::{Action, LetterId, State};
use ecom_domain::outcome::Outcome;
use ecom_domain::verdict::Verdict;
use ecom_pipeline::assess::assess;
use ecom_pipeline::durable::Halt;
use ecom_pipeline::settler::Settler;

/// Discards an open letter. One whose row shows its event, or a newer one, is recovered instead:
/// there is nothing left to give up.
pub(super) async fn discard(settler: &Settler, id: &LetterId) -> Result<(), Halt> {
    let Some(record) = settler.letter(id).await? else { return Ok(()) };
    match record.state() {
        State::Waiting | State::Parked => {}
        State::Discarded | State::Recovered => return Ok(()),
    }
    let verdict = settler.retrying.read(|| assess(settler.facts.as_ref(), &record.letter)).await?;
    let (state, action, words) = match verdict {
        Verdict::AlreadyApplied => (State::Recovered, Action::Recovered, "already applied"),
        Verdict::Superseded => (State::Recovered, Action::Recovered, "superseded by a newer event"),
        Verdict::AppliesNow | Verdict::StillWaiting | Verdict::Conflict | Verdict::Poison => {
            (State::Discarded, Action::Discarded, "discarded")
        }
    };
    let line = settler.outcome(action, words, Outcome::from(state));
    settler.act(&record, settler.becomes(record.progress.generation, state), line).await
}
