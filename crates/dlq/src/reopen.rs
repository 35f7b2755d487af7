//! Undoing a discard or a park: the next generation of states begins.

use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::dead_letter::{DeadLetterChange, DeadLetterId, DeadLetterState, HistoryAction};
use ecom_pipeline::apply_check::subject;
use ecom_pipeline::dead_letter_resolver::DeadLetterResolver;
use ecom_pipeline::durable::RoleError;

/// Opens a dead letter again. One that can be applied waits, and has its time again; one whose body is no
/// event is parked, for a human to correct.
pub(super) async fn reopen(resolver: &DeadLetterResolver, id: &DeadLetterId) -> Result<(), RoleError> {
    let Some(record) = resolver.dead_letter(id).await? else { return Ok(()) };
    let can_apply = subject(&record.dead_letter).is_some();
    let state = match (record.state(), can_apply) {
        (DeadLetterState::Waiting | DeadLetterState::Recovered, _) => return Ok(()),
        (DeadLetterState::Parked | DeadLetterState::Discarded, true) => DeadLetterState::Waiting,
        (DeadLetterState::Parked | DeadLetterState::Discarded, false) => DeadLetterState::Parked,
    };
    if state == record.state() {
        let line = resolver.outcome(
            HistoryAction::Attempted,
            "its body is no event: correct it",
            ActualOutcome::Parked,
        );
        return resolver.act(&record, DeadLetterChange::Nothing, line).await;
    }
    let generation = record.progress.generation.saturating_add(1);
    let line = resolver.outcome(HistoryAction::Reopened, "reopened", ActualOutcome::from(state));
    resolver.act(&record, resolver.becomes(generation, state), line).await
}
