//! Closing a dead letter by a human's word.

use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterState, HistoryAction};
use ecom_domain::verdict::Verdict;
use ecom_pipeline::apply_check::assess;
use ecom_pipeline::dead_letter_resolver::DeadLetterResolver;
use ecom_pipeline::durable::RoleError;

/// Discards an open dead letter. One whose row shows its event, or a newer one, is recovered instead:
/// there is nothing left to give up.
pub(super) async fn discard(resolver: &DeadLetterResolver, id: &DeadLetterId) -> Result<(), RoleError> {
    let Some(record) = resolver.dead_letter(id).await? else { return Ok(()) };
    match record.state() {
        DeadLetterState::Waiting | DeadLetterState::Parked => {}
        DeadLetterState::Discarded | DeadLetterState::Recovered => return Ok(()),
    }
    let verdict = resolver.retrier.read(|| assess(resolver.facts.as_ref(), &record.dead_letter)).await?;
    let (state, action, words) = match verdict {
        Verdict::AlreadyApplied => (DeadLetterState::Recovered, HistoryAction::Recovered, "already applied"),
        Verdict::Superseded => {
            (DeadLetterState::Recovered, HistoryAction::Recovered, "superseded by a newer event")
        }
        Verdict::AppliesNow | Verdict::StillWaiting | Verdict::Conflict | Verdict::Poison => {
            (DeadLetterState::Discarded, HistoryAction::Discarded, "discarded")
        }
    };
    let line = resolver.outcome(action, words, ActualOutcome::from(state));
    resolver.act(&record, resolver.becomes(record.progress.generation, state), line).await
}
