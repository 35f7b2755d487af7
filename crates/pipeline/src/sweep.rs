//! A pass over the whole dead-letter store: what waits is scheduled or tried, what is parked is looked at
//! again, what was resolved long ago is removed.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::dead_letter_resolver::{AttemptResult, AttemptTrigger, DeadLetterResolver, applies_by_itself};
use super::durable::RoleError;
use super::retries::RetryQueue;
use ecom_clock::micros;
use ecom_domain::dead_letter::{DeadLetterRecord, DeadLetterState};
use ecom_domain::reason::Reason;
use ecom_store::Scan;
use ecom_telemetry::metrics::StoreOperation;

/// Dead letters tried at once in a pass.
const CONCURRENCY: usize = 32;

/// What a pass did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SweepSummary {
    /// Dead letters read.
    pub dead_letters: u64,
    /// Dead letters that became `recovered`.
    pub recovered: u64,
    /// Dead letters open after the pass.
    pub open: u64,
    /// Resolved dead letters removed.
    pub removed: u64,
}

/// Goes over all dead letters, newest day first. With `retry_queue`, waiting dead letters are left to the schedule, but
/// for those past their age: the schedule may have no room for the oldest. Without, they are tried now,
/// whenever they are due.
pub async fn sweep(
    resolver: &DeadLetterResolver,
    retry_queue: Option<RetryQueue>,
) -> Result<SweepSummary, RoleError> {
    let mut summary = SweepSummary::default();
    let mut attempts = FuturesUnordered::new();
    let mut dead_letters = resolver.dead_letter_store.dead_letters(Scan::BRIEF);
    while let Some(record) = dead_letters.next().await {
        let record = match record {
            Ok(record) => record,
            // What could not be read is read by the next pass.
            Err(error) if error.is_outage() => {
                tracing::warn!("{error}; the pass over the dead-letter store ends early");
                break;
            }
            Err(error) => return Err(error.into()),
        };
        summary.dead_letters += 1;
        if is_expired(resolver, &record) {
            resolver
                .retrier
                .storing(StoreOperation::Remove)
                .write(|| resolver.dead_letter_store.remove(&record))
                .await?;
            summary.removed += 1;
            continue;
        }
        match (record.state(), &retry_queue) {
            (DeadLetterState::Waiting, Some(retry_queue)) if !is_overdue(resolver, &record) => {
                let due = record.progress.next_attempt_at.unwrap_or_default();
                retry_queue.due(record.dead_letter.id, due).await;
                summary.open += 1;
            }
            (DeadLetterState::Parked, _) if is_for_a_human(record.dead_letter.reason) => summary.open += 1,
            (DeadLetterState::Waiting | DeadLetterState::Parked | DeadLetterState::Discarded, _) => {
                let id = record.dead_letter.id;
                attempts.push(async move { resolver.attempt(&id, AttemptTrigger::Sweep).await });
            }
            (DeadLetterState::Recovered, _) => {}
        }
        while attempts.len() >= CONCURRENCY
            && let Some(stand) = attempts.next().await
        {
            summary.count(stand?);
        }
    }
    while let Some(stand) = attempts.next().await {
        summary.count(stand?);
    }
    Ok(summary)
}

impl SweepSummary {
    fn count(&mut self, stand: AttemptResult) {
        match stand {
            AttemptResult::Rests(DeadLetterState::Recovered) => self.recovered += 1,
            AttemptResult::Rests(DeadLetterState::Waiting | DeadLetterState::Parked)
            | AttemptResult::Waits(_) => self.open += 1,
            AttemptResult::Rests(DeadLetterState::Discarded) | AttemptResult::Gone => {}
        }
    }
}

/// Whether the next attempt is a waiting dead letter's last.
fn is_overdue(resolver: &DeadLetterResolver, record: &DeadLetterRecord) -> bool {
    let age = resolver.clock.now_us().saturating_sub(record.dead_letter.first_failed_at);
    age > micros(resolver.policy.max_age)
}

fn is_expired(resolver: &DeadLetterResolver, record: &DeadLetterRecord) -> bool {
    let oldest = resolver.clock.now_us().saturating_sub(micros(resolver.policy.retention));
    !record.state().is_open() && record.progress.state_at.is_some_and(|at| at < oldest)
}

/// Whether looking again at a parked dead letter of this reason cannot change anything: its body is no
/// event. One whose handler panicked may have been applied by a redelivery.
pub fn is_for_a_human(reason: Reason) -> bool {
    !applies_by_itself(reason) && reason != Reason::HandlerFailed
}
