//! The sweep over the whole dead-letter store: checks parked and discarded dead letters again, and removes those
//! resolved longer ago than the retention.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::dead_letter_resolver::{AttemptResult, AttemptTrigger, DeadLetterResolver};
use super::durable::RoleError;
use super::retry_policy::applies_automatically;
use ecom_clock::micros;
use ecom_domain::dead_letter::{DeadLetterRecord, DeadLetterState};
use ecom_domain::mutant::{Mutant, is_active};
use ecom_domain::reason::Reason;
use ecom_store::{Scan, StoreError};
use ecom_telemetry::metrics::StoreOperation;

/// Attempts at a time.
const CONCURRENCY: usize = 32;

/// The treatment of waiting dead letters by a sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitingDeadLetters {
    /// It leaves them to the retry loop, which attempts each when it is due.
    AreScheduled,
    /// It attempts each, whenever it is due.
    AreAttempted,
}

/// The counts of one sweep.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SweepSummary {
    /// Dead letters read.
    pub dead_letters: u64,
    /// Dead letters that became `recovered`.
    pub recovered: u64,
    /// Dead letters open after the sweep.
    pub open: u64,
    /// Resolved dead letters removed.
    pub removed: u64,
    /// Parts of the dead-letter store that could not be read.
    pub unreadable: u64,
    /// True if an outage ended the sweep before it had read everything.
    pub ended_early: bool,
}

/// Sweeps over all dead letters, newest day first. An outage ends the sweep early.
pub async fn sweep(
    resolver: &DeadLetterResolver,
    waiting: WaitingDeadLetters,
) -> Result<SweepSummary, RoleError> {
    let mut summary = SweepSummary::default();
    let mut attempts = FuturesUnordered::new();
    let mut dead_letters = resolver.dead_letter_store.dead_letters(Scan::BRIEF);
    while let Some(record) = dead_letters.next().await {
        let record = match record {
            Ok(record) => record,
            Err(StoreError::Unreadable { .. }) if is_active(Mutant::ScanEndsAtUnreadable) => break,
            Err(error @ StoreError::Unreadable { .. }) => {
                tracing::warn!("{error}; the sweep passes it over");
                summary.unreadable += 1;
                continue;
            }
            Err(error) if resolver.retrier.outlasts(&error) => {
                summary.ended_early = true;
                tracing::warn!("{error}; the sweep ends early, and the next one reads the rest");
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
        match (record.state(), waiting) {
            (DeadLetterState::Waiting, WaitingDeadLetters::AreScheduled) => summary.open += 1,
            (DeadLetterState::Parked, _) if needs_an_operator(record.dead_letter.reason) => summary.open += 1,
            (DeadLetterState::Waiting | DeadLetterState::Parked | DeadLetterState::Discarded, _) => {
                let id = record.dead_letter.id;
                attempts.push(async move { resolver.attempt(&id, AttemptTrigger::Sweep).await });
            }
            (DeadLetterState::Recovered, _) => {}
        }
        while attempts.len() >= CONCURRENCY
            && let Some(result) = attempts.next().await
        {
            summary.count(result?);
        }
    }
    while let Some(result) = attempts.next().await {
        summary.count(result?);
    }
    if !summary.ended_early {
        resolver.retrier.read(|| resolver.dead_letter_store.forget_removed()).await?;
    }
    Ok(summary)
}

impl SweepSummary {
    fn count(&mut self, result: AttemptResult) {
        match result {
            AttemptResult::Rests(DeadLetterState::Recovered) => self.recovered += 1,
            AttemptResult::Rests(DeadLetterState::Waiting | DeadLetterState::Parked)
            | AttemptResult::Waits(_) => self.open += 1,
            AttemptResult::Rests(DeadLetterState::Discarded) | AttemptResult::Gone => {}
        }
    }
}

/// Returns true when a dead letter was resolved longer ago than the retention.
fn is_expired(resolver: &DeadLetterResolver, record: &DeadLetterRecord) -> bool {
    let oldest = resolver.clock.now_us().saturating_sub(micros(resolver.policy.retention));
    !record.state().is_open() && record.progress.state_at.is_some_and(|at| at < oldest)
}

/// Returns true when a parked dead letter of this reason stays parked until an operator acts: its body is not
/// an event. (A dead letter whose handler panicked may have been applied by a redelivery.)
pub fn needs_an_operator(reason: Reason) -> bool {
    is_active(Mutant::NoRecheck) || !applies_automatically(reason) && reason != Reason::HandlerFailed
}
