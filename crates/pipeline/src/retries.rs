//! The retry loop: attempts dead letters when they are due, and sweeps over all of them at intervals.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::dead_letter_resolver::{AttemptResult, AttemptTrigger, DeadLetterResolver};
use super::durable::RoleError;
use super::retry_queue::{QueuedRetries, QueuedRetry, RetryQueue};
use super::retry_schedule::RetrySchedule;
use super::sweep::{self, SweepSummary};

/// Attempts at a time.
const CONCURRENCY: usize = 32;

/// Attempts dead letters by their schedule and sweeps over all of them, until stopped.
pub async fn run(
    resolver: &DeadLetterResolver,
    retry_queue: RetryQueue,
    mut queued: QueuedRetries,
    stop: CancellationToken,
) -> Result<(), RoleError> {
    let mut schedule = RetrySchedule::default();
    let mut attempts = FuturesUnordered::new();
    let mut next_sweep = Instant::now();
    let mut sweeping = None;
    loop {
        let now = resolver.clock.now_us();
        while attempts.len() < CONCURRENCY
            && let Some(id) = schedule.pop_due(now)
        {
            attempts.push(async move {
                let result = resolver.attempt(&id, AttemptTrigger::Schedule).await;
                (id, result)
            });
        }
        let until_due =
            schedule.first_due().map(|due| Duration::from_micros(due.saturating_sub(now).max(0) as u64));
        let may_attempt = attempts.len() < CONCURRENCY && until_due.is_some();
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some((id, result)) = attempts.next() => {
                if let AttemptResult::Waits(due) = result? {
                    schedule.add(id, due);
                }
            }
            summary = async { sweeping.as_mut().expect("guarded").await }, if sweeping.is_some() => {
                sweeping = None;
                let summary: SweepSummary = summary?;
                tracing::debug!(?summary, "swept over the dead-letter store");
            }
            Some(QueuedRetry { id, due }) = queued.recv() => {
                schedule.add(id, due.unwrap_or_else(|| resolver.first_due()));
            }
            () = tokio::time::sleep_until(next_sweep), if sweeping.is_none() => {
                next_sweep = Instant::now() + resolver.policy.sweep_interval;
                schedule.clear_overflow();
                sweeping = Some(Box::pin(sweep::sweep(resolver, Some(retry_queue.clone()))));
            }
            () = tokio::time::sleep(until_due.unwrap_or_default()), if may_attempt => {}
        }
        if schedule.take_overflow() {
            next_sweep = Instant::now();
        }
    }
    drop(sweeping);
    while let Some((_, result)) = attempts.next().await {
        result?;
    }
    Ok(())
}
