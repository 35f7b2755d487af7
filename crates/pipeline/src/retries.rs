//! The retry loop: attempts dead letters when they are due, reads the waiting ones from the dead-letter store,
//! and sweeps over all others at intervals.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::dead_letter_resolver::{AttemptResult, AttemptTrigger, DeadLetterResolver};
use super::durable::RoleError;
use super::retry_queue::{QueuedRetries, QueuedRetry, RetryQueue};
use super::retry_schedule::RetrySchedule;
use super::sweep::{self, WaitingDeadLetters};
use ecom_clock::micros;
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterState};
use ecom_domain::mutant::{Mutant, is_active};
use ecom_store::{Scan, StoreError};

/// Dead letters attempted alone at a time, and groups of them attempted together.
const CONCURRENCY: usize = 32;
/// Dead letters attempted together.
const GROUP: usize = 256;
/// The shortest pause between two loads; it is at least as long as the load before it.
const LOAD_PAUSE: Duration = Duration::from_secs(5);
/// The time from the first load to the second. A handler that ended in between, as in a rolling restart, left what it had
/// scheduled.
const HANDOVER: Duration = Duration::from_secs(60);

/// Attempts dead letters by their schedule and sweeps over all of them, until stopped.
///
/// Whatever is missing in the bounded schedule is in the dead-letter store: each load adds the waiting dead
/// letters, of which the schedule keeps those that are due first, and another load follows when they are done.
pub async fn run(
    resolver: &DeadLetterResolver,
    retry_queue: RetryQueue,
    mut queued: QueuedRetries,
    stop: CancellationToken,
) -> Result<(), RoleError> {
    let mut schedule = RetrySchedule::new(resolver.policy.capacity);
    let mut attempts = FuturesUnordered::new();
    let (mut next_sweep, mut next_load) = (Instant::now(), Instant::now());
    let (mut sweeping, mut loading) = (None, None);
    let mut known_for = HANDOVER.min(resolver.policy.sweep_interval);
    let (mut groups, mut alone) = (FuturesUnordered::new(), VecDeque::new());
    loop {
        let now = resolver.clock.now_us();
        if queued.take_overflow() {
            schedule.is_incomplete_from(now);
        }
        while attempts.len() < CONCURRENCY
            && let Some(id) = alone.pop_front()
        {
            attempts.push(async move {
                let result = resolver.attempt(&id, AttemptTrigger::Schedule).await;
                (id, result)
            });
        }
        // The next group fills up while one is under way, unless the schedule would have to drop what is due.
        let is_ready = match groups.len() {
            0 => alone.is_empty(),
            under_way => schedule.is_full() && under_way < CONCURRENCY,
        };
        if is_ready {
            let due: Vec<_> = std::iter::from_fn(|| schedule.pop_due(now)).take(GROUP).collect();
            if !due.is_empty() {
                groups.push(attempt_together(resolver, due));
            }
        }
        let wait = |until: i64| Duration::from_micros(until.saturating_sub(now).max(0).unsigned_abs());
        let until_due = schedule.first_due().map(wait);
        let may_attempt = groups.is_empty() && alone.is_empty() && until_due.is_some();
        let until_load = schedule.load_due().filter(|_| loading.is_none()).map(wait);
        let load_at = next_load.max(Instant::now() + until_load.unwrap_or_default());
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some((id, result)) = attempts.next() => {
                if let AttemptResult::Waits(due) = result? {
                    schedule.add(id, due);
                }
            }
            Some(attempted) = groups.next() => {
                for (id, next_attempt_at) in attempted {
                    match next_attempt_at {
                        Some(due) => schedule.add(id, due),
                        None => alone.push_back(id),
                    }
                }
            }
            summary = async { sweeping.as_mut().expect("guarded").await }, if sweeping.is_some() => {
                sweeping = None;
                let summary: sweep::SweepSummary = summary?;
                tracing::debug!(?summary, "swept over the dead-letter store");
            }
            loaded = async { loading.as_mut().expect("guarded").await }, if loading.is_some() => {
                loading = None;
                let (is_complete, took): (bool, Duration) = loaded?;
                if !is_complete {
                    schedule.is_incomplete_from(now);
                }
                next_load = Instant::now() + took.max(LOAD_PAUSE);
            }
            Some(QueuedRetry { id, due }) = queued.recv() => {
                schedule.add(id, due.unwrap_or_else(|| resolver.first_due()));
            }
            () = tokio::time::sleep_until(next_sweep), if sweeping.is_none() => {
                next_sweep = Instant::now() + resolver.policy.sweep_interval;
                sweeping = Some(Box::pin(sweep::sweep(resolver, WaitingDeadLetters::AreScheduled)));
            }
            () = tokio::time::sleep_until(load_at), if until_load.is_some() => {
                schedule.begin_load(now.saturating_add(micros(known_for)));
                known_for = resolver.policy.sweep_interval;
                loading = Some(Box::pin(load(resolver, &retry_queue)));
            }
            () = tokio::time::sleep(until_due.unwrap_or_default()), if may_attempt => {}
        }
    }
    drop((sweeping, loading, groups));
    while let Some((_, result)) = attempts.next().await {
        result?;
    }
    Ok(())
}

async fn attempt_together(
    resolver: &DeadLetterResolver,
    ids: Vec<DeadLetterId>,
) -> impl Iterator<Item = (DeadLetterId, Option<i64>)> {
    let next_attempts = resolver.attempt_together(&ids).await;
    ids.into_iter().zip(next_attempts)
}

/// Queues every waiting dead letter; returns whether all were read, and how long that took. An outage ends the
/// load early.
async fn load(
    resolver: &DeadLetterResolver,
    retry_queue: &RetryQueue,
) -> Result<(bool, Duration), RoleError> {
    let started = Instant::now();
    let mut dead_letters = resolver.dead_letter_store.dead_letters(Scan::BRIEF);
    while let Some(record) = dead_letters.next().await {
        match record {
            Ok(record) if record.state() == DeadLetterState::Waiting => {
                // What is due at once comes first, or those that have been due for longer could keep it out.
                let due = resolver.policy.due(&record, resolver.clock.now_us()).unwrap_or(i64::MIN);
                retry_queue.push_due(record.dead_letter.id, due).await;
            }
            Ok(_) => {}
            Err(StoreError::Unreadable { .. }) if is_active(Mutant::ScanEndsAtUnreadable) => break,
            Err(error @ StoreError::Unreadable { .. }) => {
                tracing::warn!("{error}; its waiting dead letters are not retried");
            }
            Err(error) if resolver.retrier.outlasts(&error) => {
                tracing::warn!("{error}; waiting dead letters that were not read are retried later");
                return Ok((false, started.elapsed()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((true, started.elapsed()))
}
