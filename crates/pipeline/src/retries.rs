//! When dead letters are tried again: by their schedule, and by a sweep over all of them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::dead_letter_resolver::{AttemptResult, AttemptTrigger, DeadLetterResolver};
use super::durable::RoleError;
use super::sweep::{self, SweepSummary};
use ecom_domain::backoff::Backoff;
use ecom_domain::dead_letter::DeadLetterId;

/// Dead letters whose next attempt one handler keeps in mind; the sweep finds the rest.
const SCHEDULE_LIMIT: usize = 50_000;
/// Dead letters attempted at once.
const CONCURRENCY: usize = 32;

/// When dead letters are tried again.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Between attempts; its first ceiling is the wait before the first one.
    pub backoff: Backoff,
    /// A dead letter still waiting this long after its first failure is parked.
    pub max_age: Duration,
    /// Between sweeps over all dead letters.
    pub sweep_interval: Duration,
    /// Resolved dead letters are removed this long after their last act.
    pub retention: Duration,
}

/// Announces dead letters to the schedule; what does not fit is left to the sweep.
#[derive(Clone)]
pub struct RetryQueue(mpsc::Sender<(DeadLetterId, Option<i64>)>);

impl RetryQueue {
    /// A way to announce, and the schedule's end of it.
    pub fn channel() -> (Self, mpsc::Receiver<(DeadLetterId, Option<i64>)>) {
        let (sender, receiver) = mpsc::channel(4_096);
        (Self(sender), receiver)
    }

    /// A dead letter just recorded: due after the first backoff.
    pub fn fresh(&self, id: DeadLetterId) {
        // A full or closed channel loses nothing: the dead letter is in the dead-letter store, the sweep finds it.
        drop(self.0.try_send((id, None)));
    }

    /// A dead letter found by the sweep, due at this time; waits for room.
    pub async fn due(&self, id: DeadLetterId, at: i64) {
        drop(self.0.send((id, Some(at))).await);
    }
}

/// Dead letters in mind, by when they are due.
#[derive(Default)]
struct Schedule {
    by_time: BTreeSet<(i64, DeadLetterId)>,
    times: HashMap<DeadLetterId, i64>,
    overflowed: bool,
}

impl Schedule {
    fn add(&mut self, id: DeadLetterId, due: i64) {
        if self.times.contains_key(&id) {
            return;
        }
        if self.times.len() >= SCHEDULE_LIMIT {
            self.overflowed = true;
            return;
        }
        self.times.insert(id.clone(), due);
        self.by_time.insert((due, id));
    }

    fn first_due(&self) -> Option<i64> {
        self.by_time.first().map(|(due, _)| *due)
    }

    fn take_due(&mut self, now: i64) -> Option<DeadLetterId> {
        self.first_due().filter(|due| *due <= now)?;
        let (_, id) = self.by_time.pop_first()?;
        self.times.remove(&id);
        Some(id)
    }

    fn has_room_again(&self) -> bool {
        self.overflowed && self.times.len() < SCHEDULE_LIMIT / 2
    }
}

/// Tries dead letters by their schedule and sweeps over all of them, until stopped.
pub async fn run(
    resolver: &DeadLetterResolver,
    retry_queue: RetryQueue,
    mut queued: mpsc::Receiver<(DeadLetterId, Option<i64>)>,
    stop: CancellationToken,
) -> Result<(), RoleError> {
    let mut schedule = Schedule::default();
    let mut attempts = FuturesUnordered::new();
    let mut next_sweep = Instant::now();
    let mut sweeping = None;
    loop {
        let now = resolver.clock.now_us();
        while attempts.len() < CONCURRENCY
            && let Some(id) = schedule.take_due(now)
        {
            attempts.push(async move {
                let stand = resolver.attempt(&id, AttemptTrigger::Schedule).await;
                (id, stand)
            });
        }
        let until_due =
            schedule.first_due().map(|due| Duration::from_micros(due.saturating_sub(now).max(0) as u64));
        let may_attempt = attempts.len() < CONCURRENCY && until_due.is_some();
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some((id, stand)) = attempts.next() => {
                if let AttemptResult::Waits(due) = stand? {
                    schedule.add(id, due);
                }
            }
            summary = async { sweeping.as_mut().expect("guarded").await }, if sweeping.is_some() => {
                sweeping = None;
                let summary: SweepSummary = summary?;
                tracing::debug!(?summary, "swept over the dead-letter store");
            }
            Some((id, due)) = queued.recv() => {
                schedule.add(id, due.unwrap_or_else(|| resolver.first_due()));
            }
            () = tokio::time::sleep_until(next_sweep), if sweeping.is_none() => {
                next_sweep = Instant::now() + resolver.policy.sweep_interval;
                schedule.overflowed = false;
                sweeping = Some(Box::pin(sweep::sweep(resolver, Some(retry_queue.clone()))));
            }
            () = tokio::time::sleep(until_due.unwrap_or_default()), if may_attempt => {}
        }
        if schedule.has_room_again() {
            next_sweep = Instant::now();
        }
    }
    drop(sweeping);
    while let Some((_, stand)) = attempts.next().await {
        stand?;
    }
    Ok(())
}
