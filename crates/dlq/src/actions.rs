//! The three changes to one dead letter: retry, discard, reopen.

use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::dead_letter::{
    DeadLetterChange, DeadLetterId, DeadLetterState, HistoryAction, HistoryOutcome,
};
use ecom_domain::verdict::Verdict;
use ecom_pipeline::apply_check::{assess_to_close, subject};
use ecom_pipeline::dead_letter_resolver::{AttemptTrigger, DeadLetterResolver};
use ecom_pipeline::durable::RoleError;

/// Attempts an open dead letter now, whatever its schedule, as a handler would. A discarded one must be
/// reopened first and is left alone.
pub(super) async fn retry(resolver: &DeadLetterResolver, id: &DeadLetterId) -> Result<(), RoleError> {
    resolver.attempt(id, AttemptTrigger::Operator).await.map(drop)
}

/// Discards an open dead letter. If the row already shows its event or a newer one, the dead letter is
/// recovered instead: nothing is given up.
pub(super) async fn discard(resolver: &DeadLetterResolver, id: &DeadLetterId) -> Result<(), RoleError> {
    let Some(record) = resolver.dead_letter(id).await? else { return Ok(()) };
    match record.state() {
        DeadLetterState::Waiting | DeadLetterState::Parked => {}
        DeadLetterState::Discarded | DeadLetterState::Recovered => return Ok(()),
    }
    let (retrier, facts) = (&resolver.retrier, resolver.facts.as_ref());
    let verdict = assess_to_close(retrier, facts, &record.dead_letter).await?;
    let closed_by = match verdict {
        Verdict::AlreadyApplied => Some(HistoryOutcome::AlreadyApplied),
        Verdict::Superseded => Some(HistoryOutcome::Superseded),
        Verdict::AppliesNow | Verdict::StillWaiting | Verdict::Conflict | Verdict::Poison => None,
    };
    let (state, action) = match closed_by {
        Some(_) => (DeadLetterState::Recovered, HistoryAction::Recovered),
        None => (DeadLetterState::Discarded, HistoryAction::Discarded),
    };
    let entry = resolver.operation_entry(action, closed_by, ActualOutcome::from(state));
    resolver.record_update(&record, resolver.state_change(record.progress.generation, state), entry).await
}

/// Reopens a parked or discarded dead letter in its next generation. It waits, with its full maximum age
/// ahead of it, if its body is a valid event; otherwise it is parked until it is corrected.
pub(super) async fn reopen(resolver: &DeadLetterResolver, id: &DeadLetterId) -> Result<(), RoleError> {
    let Some(record) = resolver.dead_letter(id).await? else { return Ok(()) };
    let can_apply = subject(&record.dead_letter).is_some();
    let state = match (record.state(), can_apply) {
        (DeadLetterState::Waiting | DeadLetterState::Recovered, _) => return Ok(()),
        (DeadLetterState::Parked | DeadLetterState::Discarded, true) => DeadLetterState::Waiting,
        (DeadLetterState::Parked | DeadLetterState::Discarded, false) => DeadLetterState::Parked,
    };
    if state == record.state() {
        let poison = Some(HistoryOutcome::Poison);
        let entry = resolver.operation_entry(HistoryAction::Attempted, poison, ActualOutcome::Parked);
        return resolver.record_update(&record, DeadLetterChange::Nothing, entry).await;
    }
    let change = DeadLetterChange::Reopen {
        generation: record.progress.generation.saturating_add(1),
        state,
        at: resolver.clock.now_us(),
        dead_letter: Box::new(record.dead_letter.clone()),
    };
    let entry = resolver.operation_entry(HistoryAction::Reopened, None, ActualOutcome::from(state));
    resolver.record_update(&record, change, entry).await
}
