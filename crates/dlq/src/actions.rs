//! The three changes to one dead letter: retry, discard, reopen.

use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::dead_letter::{DeadLetterChange, DeadLetterId, DeadLetterState, HistoryAction};
use ecom_domain::verdict::Verdict;
use ecom_pipeline::apply_check::{assess, subject};
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
    let entry = resolver.outcome_entry(action, words, ActualOutcome::from(state));
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
        let entry = resolver.outcome_entry(
            HistoryAction::Attempted,
            "the body is not a valid event: correct it",
            ActualOutcome::Parked,
        );
        return resolver.record_update(&record, DeadLetterChange::Nothing, entry).await;
    }
    let generation = record.progress.generation.saturating_add(1);
    let entry = resolver.outcome_entry(HistoryAction::Reopened, "reopened", ActualOutcome::from(state));
    resolver.record_update(&record, resolver.state_change(generation, state), entry).await
}
