//! When letters are tried again: by their schedule, and by a sweep over all of them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::durable::Halt;
use super::settler::{Occasion, Settler, Stand};
use super::sweep::{self, Swept};
use ecom_domain::backoff::Backoff;
use ecom_domain::letter::LetterId;

/// Letters whose next attempt one handler keeps in mind; the sweep finds the rest.
const SCHEDULE_LIMIT: usize = 50_000;
/// Letters attempted at once.
const CONCURRENCY: usize = 32;

/// When letters are tried again.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Between attempts; its first ceiling is the wait before the first one.
    pub backoff: Backoff,
    /// A letter still waiting this long after its first failure is parked.
    pub max_age: Duration,
    /// Between sweeps over all letters.
    pub sweep_interval: Duration,
    /// Resolved letters are removed this long after their last act.
    pub retention: Duration,
}

/// Announces letters to the schedule; what does not fit is left to the sweep.
#[derive(Clone)]
pub struct Offers(mpsc::Sender<(LetterId, Option<i64>)>);

impl Offers {
    /// A way to announce, and the schedule's end of it.
    pub fn channel() -> (Self, mpsc::Receiver<(LetterId, Option<i64>)>) {
        let (sender, receiver) = mpsc::channel(4_096);
        (Self(sender), receiver)
    }

    /// A letter just recorded: due after the first backoff.
    pub fn fresh(&self, id: LetterId) {
        // A full or closed channel loses nothing: the letter is in the ledger, the sweep finds it.
        drop(self.0.try_send((id, None)));
    }

    /// A letter found by the sweep, due at this time; waits for room.
    pub async fn due(&self, id: LetterId, at: i64) {
        drop(self.0.send((id, Some(at))).await);
    }
}

/// Letters in mind, by when they are due.
#[derive(Default)]
struct Schedule {
    by_time: BTreeSet<(i64, LetterId)>,
    times: HashMap<LetterId, i64>,
    overflowed: bool,
}

impl Schedule {
    fn add(&mut self, id: LetterId, due: i64) {
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

    fn take_due(&mut self, now: i64) -> Option<LetterId> {
        self.first_due().filter(|due| *due <= now)?;
        let (_, id) = self.by_time.pop_first()?;
        self.times.remove(&id);
        Some(id)
    }

    fn has_room_again(&self) -> bool {
        self.overflowed && self.times.len() < SCHEDULE_LIMIT / 2
    }
}

/// Tries letters by their schedule and sweeps over all of them, until stopped.
pub async fn run(
    settler: &Settler,
    offers: Offers,
    mut offered: mpsc::Receiver<(LetterId, Option<i64>)>,
    stop: CancellationToken,
) -> Result<(), Halt> {
    let mut schedule = Schedule::default();
    let mut attempts = FuturesUnordered::new();
    let mut next_sweep = Instant::now();
    let mut sweeping = None;
    loop {
        let now = settler.clock.now_us();
        while attempts.len() < CONCURRENCY
            && let Some(id) = schedule.take_due(now)
        {
            attempts.push(async move {
                let stand = settler.attempt(&id, Occasion::Schedule).await;
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
                if let Stand::Waits(due) = stand? {
                    schedule.add(id, due);
                }
            }
            swept = async { sweeping.as_mut().expect("guarded").await }, if sweeping.is_some() => {
                sweeping = None;
                let swept: Swept = swept?;
                tracing::debug!(?swept, "swept over the ledger");
            }
            Some((id, due)) = offered.recv() => {
                schedule.add(id, due.unwrap_or_else(|| settler.first_due()));
            }
            () = tokio::time::sleep_until(next_sweep), if sweeping.is_none() => {
                next_sweep = Instant::now() + settler.policy.sweep_interval;
                schedule.overflowed = false;
                sweeping = Some(Box::pin(sweep::sweep(settler, Some(offers.clone()))));
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
