//! Settling letters: attempts by schedule and by sweep, `recovered` on evidence only.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::durable::{Halt, Retrying};
use super::letters::Actor;
use super::order_locks::OrderLocks;
use super::sweep::{self, Swept};
use crate::clock::{Chance, Clock, micros};
use crate::codec::json;
use crate::domain::backoff::Backoff;
use crate::domain::letter::{Act, Action, Change, HistoryEntry, Kind, LetterId, LetterRecord, State};
use crate::domain::payment::Payment;
use crate::domain::verdict::{Standing, judge};
use crate::store::{FactStore, Ledger};

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

/// Why a letter is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Occasion {
    /// Its next attempt is due: only waiting letters.
    Schedule,
    /// A pass over everything, whatever the schedule says: parked and discarded letters too.
    Pass,
}

/// Where a letter stands after it was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stand {
    /// No such letter any more.
    Gone,
    /// In this state, nothing more to do now.
    Rests(State),
    /// Still waiting; due again at this time, microseconds since the epoch.
    Waits(i64),
}

/// Settles letters against the fact table.
pub struct Settler {
    /// The fact table.
    pub facts: Arc<dyn FactStore>,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// How outages are waited out.
    pub retrying: Arc<Retrying>,
    /// One letter of an order at a time.
    pub locks: OrderLocks,
    /// When letters are tried again.
    pub policy: RetryPolicy,
    /// Wall time, for schedules and the history.
    pub clock: Clock,
    /// Jitter.
    pub chance: Arc<Chance>,
    /// For the history.
    pub actor: Actor,
}

impl Settler {
    /// Looks at a letter and does what the evidence allows.
    pub async fn attempt(&self, id: &LetterId, occasion: Occasion) -> Result<Stand, Halt> {
        let Some(record) = self.retrying.read(|| self.ledger.letter(id)).await? else {
            return Ok(Stand::Gone);
        };
        let state = record.state();
        match (state, occasion) {
            (State::Recovered, _) | (State::Parked | State::Discarded, Occasion::Schedule) => {
                return Ok(Stand::Rests(state));
            }
            (State::Waiting, _) | (State::Parked | State::Discarded, Occasion::Pass) => {}
        }
        let payment = match record.letter.kind {
            Kind::Payment if record.letter.body.is_whole() => json::payment(&record.letter.body.bytes).ok(),
            Kind::Payment | Kind::Order => None,
        };
        let Some(payment) = payment else {
            return match state {
                State::Waiting => self.become_state(&record, State::Parked, "its body is no payment").await,
                State::Parked | State::Discarded | State::Recovered => Ok(Stand::Rests(state)),
            };
        };
        match state {
            State::Waiting => self.attempt_waiting(&record, &payment, occasion).await,
            State::Parked => self.settle(&record, &payment).await,
            State::Discarded => self.audit(&record, &payment).await,
            State::Recovered => Ok(Stand::Rests(state)),
        }
    }

    async fn attempt_waiting(
        &self,
        record: &LetterRecord,
        payment: &Payment<'_>,
        occasion: Occasion,
    ) -> Result<Stand, Halt> {
        let now = self.clock.now_us();
        let latest = now.saturating_add(micros(self.policy.backoff.ceiling(u32::MAX)));
        if let Some(due) = record.progress.next_attempt_at.map(|due| due.min(latest))
            && occasion == Occasion::Schedule
            && due > now
        {
            return Ok(Stand::Waits(due));
        }
        let attempts = record.progress.attempts.saturating_add(1);
        let wait = self.policy.backoff.delay(attempts, self.chance.share());
        let next_attempt_at = now.saturating_add(micros(wait));
        let change = Change::Schedule { attempts, next_attempt_at };
        self.act(record, change, Action::Attempted, &format!("attempt {attempts}")).await?;
        match self.settle(record, payment).await? {
            Stand::Rests(State::Waiting) => {}
            stand => return Ok(stand),
        }
        let age = now.saturating_sub(record.letter.first_failed_at);
        if age > micros(self.policy.max_age) {
            return self.become_state(record, State::Parked, "its order did not come within max_age").await;
        }
        Ok(Stand::Waits(next_attempt_at))
    }

    /// Read, apply, read again: `recovered` only when the row shows this payment or a newer one.
    async fn settle(&self, record: &LetterRecord, payment: &Payment<'_>) -> Result<Stand, Halt> {
        let (t, order) = (record.letter.t, payment.order_id);
        let _lock = self.locks.lock(order).await;
        let mut written = false;
        loop {
            let slot = self.retrying.read(|| self.facts.payment_slot(order)).await?;
            let outcome = match judge(&slot, payment, t) {
                Standing::AppliesNow if !written => {
                    self.retrying.write(|| self.facts.record_payment(payment, t)).await?;
                    written = true;
                    continue;
                }
                Standing::AlreadyApplied if written => "applied",
                Standing::AlreadyApplied => "already applied",
                Standing::Superseded => "superseded by a newer payment",
                Standing::AppliesNow | Standing::StillWaiting if written => {
                    let outcome = "written, but the row does not show it: was it deleted by hand?";
                    return self.park(record, outcome).await;
                }
                Standing::AppliesNow | Standing::StillWaiting => return Ok(Stand::Rests(record.state())),
                Standing::Conflict => {
                    return self.park(record, "the row holds another payment of the same event time").await;
                }
            };
            return self.become_state(record, State::Recovered, outcome).await;
        }
    }

    /// A discarded letter is closed only when its payment has become current all the same.
    async fn audit(&self, record: &LetterRecord, payment: &Payment<'_>) -> Result<Stand, Halt> {
        let slot = self.retrying.read(|| self.facts.payment_slot(payment.order_id)).await?;
        match judge(&slot, payment, record.letter.t) {
            Standing::AlreadyApplied => {
                self.become_state(record, State::Recovered, "applied by a redelivery").await
            }
            Standing::AppliesNow | Standing::Superseded | Standing::StillWaiting | Standing::Conflict => {
                Ok(Stand::Rests(State::Discarded))
            }
        }
    }

    async fn park(&self, record: &LetterRecord, outcome: &str) -> Result<Stand, Halt> {
        match record.state() {
            State::Waiting => self.become_state(record, State::Parked, outcome).await,
            state @ (State::Parked | State::Discarded | State::Recovered) => Ok(Stand::Rests(state)),
        }
    }

    async fn become_state(&self, record: &LetterRecord, state: State, outcome: &str) -> Result<Stand, Halt> {
        let action = match state {
            State::Recovered => Action::Recovered,
            State::Waiting | State::Parked | State::Discarded => Action::Parked,
        };
        let generation = record.progress.generation;
        let change = Change::State { generation, state, at: self.clock.now_us() };
        self.act(record, change, action, outcome).await?;
        Ok(Stand::Rests(state))
    }

    async fn act(
        &self,
        record: &LetterRecord,
        change: Change,
        action: Action,
        outcome: &str,
    ) -> Result<(), Halt> {
        let at = self.clock.now_us();
        let unique: String = self.chance.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let act = Act {
            letter: record.letter.id.clone(),
            t: record.letter.t,
            change,
            entry: HistoryEntry {
                at,
                entry_id: unique,
                action,
                outcome: outcome.to_owned(),
                actor: self.actor.name.clone(),
                host: self.actor.host.clone(),
                note: None,
                run_id: Some(self.actor.run_id.clone()),
            },
        };
        self.retrying.write(|| self.ledger.act(&act)).await.map(drop)
    }

    /// When a letter recorded now is due for the first time.
    fn first_due(&self) -> i64 {
        self.clock.now_us().saturating_add(micros(self.policy.backoff.ceiling(0)))
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
