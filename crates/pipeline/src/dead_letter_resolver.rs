//! Settling dead letters against the fact table: `recovered` on evidence only. Handlers, sweeps and desks
//! all attempt dead letters by this code, so that a verdict read from the same functions can be believed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;

use super::apply_check::{apply_check, subject};
use super::dead_letter_intake::Actor;
use super::durable::{Retrier, RoleError};
use super::order_locks::{OrderGuard, OrderLocks};
use super::retries::RetryPolicy;
use ecom_clock::{Clock, Entropy, micros};
use ecom_codec::event::Event;
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::dead_letter::{
    DeadLetterChange, DeadLetterId, DeadLetterRecord, DeadLetterState, DeadLetterUpdate, EventKind,
    HistoryAction, HistoryEntry,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_domain::verdict::ApplyCheck;
use ecom_store::{DeadLetterStore, FactStore};
use ecom_telemetry::metrics::{Resolution, StoreOperation};

/// Why a dead letter is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttemptTrigger {
    /// Its next attempt is due: only waiting dead letters.
    Schedule,
    /// A pass over everything, whatever the schedule says: parked and discarded dead letters too.
    Sweep,
    /// A human asked for it: every open dead letter, whatever its reason; a line of the history says
    /// what came of it. The schedule stays as it is.
    Operator,
}

/// Where a dead letter stands after it was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttemptResult {
    /// No such dead letter any more.
    Gone,
    /// In this state, nothing more to do now.
    Rests(DeadLetterState),
    /// Still waiting; due again at this time, microseconds since the epoch.
    Waits(i64),
}

/// What the fact table says of a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Finding {
    /// The row shows its event, or a newer one.
    Closes(&'static str),
    /// It cannot be applied as things are, and waiting does not help.
    Parks(&'static str),
    /// Nothing changes.
    Rests(&'static str),
}

/// Settles dead letters against the fact table.
pub struct DeadLetterResolver {
    /// The fact table.
    pub facts: Arc<dyn FactStore>,
    /// The dead-letter store.
    pub dead_letter_store: Arc<dyn DeadLetterStore>,
    /// How outages are waited out.
    pub retrier: Arc<Retrier>,
    /// One dead letter of an order at a time.
    pub locks: OrderLocks,
    /// When dead letters are tried again.
    pub policy: RetryPolicy,
    /// Wall time, for schedules and the history.
    pub clock: Clock,
    /// Jitter.
    pub entropy: Arc<Entropy>,
    /// For the history.
    pub actor: Actor,
    /// Why, where a human said so: for the history.
    pub note: Option<String>,
}

impl DeadLetterResolver {
    /// Looks at a dead letter and does what the evidence allows. An order that was applied lets the open
    /// payments of that order be looked at, too, before anything else is done about the order.
    pub async fn attempt(
        &self,
        id: &DeadLetterId,
        trigger: AttemptTrigger,
    ) -> Result<AttemptResult, RoleError> {
        self.look_at(id, trigger, None).await
    }

    /// Looks at a dead letter, in the turn of its order that is `buffered` or else in one of its own.
    async fn look_at(
        &self,
        id: &DeadLetterId,
        trigger: AttemptTrigger,
        buffered: Option<&OrderGuard<'_>>,
    ) -> Result<AttemptResult, RoleError> {
        let Some(record) = self.dead_letter(id).await? else { return Ok(AttemptResult::Gone) };
        let state = record.state();
        match (state, trigger) {
            (DeadLetterState::Recovered, _)
            | (DeadLetterState::Parked | DeadLetterState::Discarded, AttemptTrigger::Schedule)
            | (DeadLetterState::Discarded, AttemptTrigger::Operator) => {
                return Ok(AttemptResult::Rests(state));
            }
            (DeadLetterState::Waiting, _)
            | (DeadLetterState::Parked, AttemptTrigger::Sweep | AttemptTrigger::Operator)
            | (DeadLetterState::Discarded, AttemptTrigger::Sweep) => {}
        }
        let Some(subject) = subject(&record.dead_letter) else {
            return self.conclude(&record, trigger, Finding::Parks("its body is no event")).await;
        };
        let own;
        let turn = match buffered {
            Some(turn) => turn,
            None => {
                own = self.locks.lock(subject.order_id()).await;
                &own
            }
        };
        let stand = match state {
            DeadLetterState::Waiting if trigger != AttemptTrigger::Operator => {
                self.await_order(&record, &subject, trigger).await?
            }
            _ => {
                let finding = match may_be_applied(&record, trigger) {
                    true => self.settle(&record, &subject).await?,
                    false => self.audit(&record, &subject).await?,
                };
                self.conclude(&record, trigger, finding).await?
            }
        };
        if let (AttemptResult::Rests(DeadLetterState::Recovered), Event::Order(order)) = (stand, &subject) {
            self.recheck_in(turn, order.order_id).await?;
        }
        Ok(stand)
    }

    /// Looks at the open payment dead letters of an order that has just been applied.
    pub async fn recheck(&self, order: OrderId) -> Result<(), RoleError> {
        let turn = self.locks.lock(order).await;
        self.recheck_in(&turn, order).await
    }

    async fn recheck_in(&self, turn: &OrderGuard<'_>, order: OrderId) -> Result<(), RoleError> {
        let open = || {
            let dead_letters = self.dead_letter_store.dead_letters_of(order);
            let payments = dead_letters.try_filter_map(|record| {
                let wanted = record.dead_letter.kind == EventKind::Payment && record.state().is_open();
                std::future::ready(Ok(wanted.then_some(record.dead_letter.id)))
            });
            payments.try_collect::<Vec<DeadLetterId>>()
        };
        for id in self.retrier.storing(StoreOperation::DeadLettersOf).read(open).await? {
            // A payment dead letter rechecks nothing itself.
            Box::pin(self.look_at(&id, AttemptTrigger::Sweep, Some(turn))).await?;
        }
        Ok(())
    }

    /// Reads a dead letter, through outages.
    pub async fn dead_letter(&self, id: &DeadLetterId) -> Result<Option<DeadLetterRecord>, RoleError> {
        self.retrier.storing(StoreOperation::DeadLetter).read(|| self.dead_letter_store.dead_letter(id)).await
    }

    /// The next attempt of a waiting dead letter, where it is due.
    async fn await_order(
        &self,
        record: &DeadLetterRecord,
        subject: &Event<'_>,
        trigger: AttemptTrigger,
    ) -> Result<AttemptResult, RoleError> {
        let now = self.clock.now_us();
        let latest = now.saturating_add(micros(self.policy.backoff.ceiling(u32::MAX)));
        if let Some(due) = record.progress.next_attempt_at.map(|due| due.min(latest))
            && trigger == AttemptTrigger::Schedule
            && due > now
        {
            return Ok(AttemptResult::Waits(due));
        }
        let attempts = record.progress.attempts.saturating_add(1);
        let wait = self.policy.backoff.delay(attempts, self.entropy.share());
        let next_attempt_at = now.saturating_add(micros(wait));
        let change = DeadLetterChange::Schedule { attempts, next_attempt_at };
        let line = self.line(HistoryAction::Attempted, &format!("attempt {attempts}"));
        self.act(record, change, line).await?;
        let mut finding = self.settle(record, subject).await?;
        if matches!(finding, Finding::Rests(_))
            && now.saturating_sub(waiting_since(record)) > micros(self.policy.max_age)
        {
            finding = Finding::Parks("its order did not come within max_age");
        }
        match self.conclude(record, trigger, finding).await? {
            AttemptResult::Rests(DeadLetterState::Waiting) => Ok(AttemptResult::Waits(next_attempt_at)),
            stand => Ok(stand),
        }
    }

    /// Read, apply, read again: closed only when the row shows this event or a newer one.
    async fn settle(&self, record: &DeadLetterRecord, subject: &Event<'_>) -> Result<Finding, RoleError> {
        let t = record.dead_letter.t;
        let mut written = false;
        loop {
            return Ok(match self.apply_check(subject, t).await? {
                ApplyCheck::AppliesNow if !written => {
                    self.write(record, subject).await?;
                    written = true;
                    continue;
                }
                ApplyCheck::AlreadyApplied if written => Finding::Closes("applied"),
                ApplyCheck::AlreadyApplied => Finding::Closes("already applied"),
                ApplyCheck::Superseded => Finding::Closes("superseded by a newer event"),
                ApplyCheck::AppliesNow | ApplyCheck::StillWaiting if written => {
                    Finding::Parks("written, but the row does not show it: was it deleted by hand?")
                }
                ApplyCheck::AppliesNow | ApplyCheck::StillWaiting => Finding::Rests("its order is not there"),
                ApplyCheck::Conflict => Finding::Parks("the row holds another event of the same event time"),
            });
        }
    }

    /// How an event stands to its row, through outages.
    async fn apply_check(&self, subject: &Event<'_>, t: EventTime) -> Result<ApplyCheck, RoleError> {
        let operation = match subject {
            Event::Order(_) => StoreOperation::Fact,
            Event::Payment(_) => StoreOperation::PaymentSlot,
        };
        let storing = self.retrier.storing(operation);
        storing.read(|| apply_check(self.facts.as_ref(), subject, t)).await
    }

    async fn write(&self, record: &DeadLetterRecord, subject: &Event<'_>) -> Result<(), RoleError> {
        let t = record.dead_letter.t;
        let written = match subject {
            Event::Order(order) => {
                let storing = self.retrier.storing(StoreOperation::RecordOrder);
                storing.write(|| self.facts.record_order(order, t)).await
            }
            Event::Payment(payment) => {
                let storing = self.retrier.storing(StoreOperation::RecordPayment);
                storing.write(|| self.facts.record_payment(payment, t)).await
            }
        };
        written.map(drop)
    }

    /// A dead letter that is not to be applied is closed when its event has become current all the same.
    /// A discarded one that was superseded stays what a human made it.
    async fn audit(&self, record: &DeadLetterRecord, subject: &Event<'_>) -> Result<Finding, RoleError> {
        Ok(match (self.apply_check(subject, record.dead_letter.t).await?, record.state()) {
            (ApplyCheck::AlreadyApplied, _) => Finding::Closes("applied by a redelivery"),
            (ApplyCheck::Superseded, DeadLetterState::Parked) => {
                Finding::Closes("superseded by a newer event")
            }
            _ => Finding::Rests("not applied by itself"),
        })
    }

    /// Writes what was found. A finding that changes nothing leaves a line only where a human asked.
    async fn conclude(
        &self,
        record: &DeadLetterRecord,
        trigger: AttemptTrigger,
        finding: Finding,
    ) -> Result<AttemptResult, RoleError> {
        let state = record.state();
        let (becomes, words) = match finding {
            Finding::Closes(words) => (DeadLetterState::Recovered, words),
            Finding::Parks(words) if state == DeadLetterState::Waiting => (DeadLetterState::Parked, words),
            Finding::Parks(words) | Finding::Rests(words) => (state, words),
        };
        let (action, change) = match becomes {
            _ if becomes == state => (HistoryAction::Attempted, DeadLetterChange::Nothing),
            DeadLetterState::Recovered => {
                (HistoryAction::Recovered, self.becomes(record.progress.generation, becomes))
            }
            DeadLetterState::Waiting | DeadLetterState::Parked | DeadLetterState::Discarded => {
                (HistoryAction::Parked, self.becomes(record.progress.generation, becomes))
            }
        };
        match trigger {
            AttemptTrigger::Operator => {
                self.act(record, change, self.outcome(action, words, becomes.into())).await?
            }
            AttemptTrigger::Schedule | AttemptTrigger::Sweep if becomes == state => {}
            AttemptTrigger::Schedule | AttemptTrigger::Sweep => {
                self.act(record, change, self.line(action, words)).await?
            }
        }
        if becomes != state {
            self.count(record, becomes);
        }
        Ok(AttemptResult::Rests(becomes))
    }

    fn count(&self, record: &DeadLetterRecord, becomes: DeadLetterState) {
        let resolution = match becomes {
            DeadLetterState::Recovered => Resolution::Recovered,
            DeadLetterState::Parked => Resolution::Parked,
            DeadLetterState::Waiting | DeadLetterState::Discarded => return,
        };
        let age = self.clock.now_us().saturating_sub(record.dead_letter.first_failed_at);
        let age = Duration::from_micros(u64::try_from(age).unwrap_or_default());
        self.retrier.metrics().resolved(resolution, age);
    }

    /// The change to a state of a generation, now.
    pub fn becomes(&self, generation: u32, state: DeadLetterState) -> DeadLetterChange {
        DeadLetterChange::State { generation, state, at: self.clock.now_us() }
    }

    /// A line of the history, signed.
    pub fn line(&self, action: HistoryAction, words: &str) -> HistoryEntry {
        let entry_id = self.entropy.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        HistoryEntry {
            at: self.clock.now_us(),
            entry_id,
            action,
            outcome: words.to_owned(),
            actor: self.actor.name.clone(),
            host: self.actor.host.clone(),
            note: self.note.clone(),
            run_id: Some(self.actor.run_id.clone()),
        }
    }

    /// The line that tells what came of a dead letter in this run, for a run that goes on from here.
    pub fn outcome(&self, action: HistoryAction, words: &str, outcome: ActualOutcome) -> HistoryEntry {
        HistoryEntry { entry_id: outcome.entry_id(&self.actor.run_id), ..self.line(action, words) }
    }

    /// Writes a change and its line, through outages.
    pub async fn act(
        &self,
        record: &DeadLetterRecord,
        change: DeadLetterChange,
        entry: HistoryEntry,
    ) -> Result<(), RoleError> {
        let act = DeadLetterUpdate {
            dead_letter: record.dead_letter.id.clone(),
            t: record.dead_letter.t,
            change,
            entry,
        };
        self.retrier
            .storing(StoreOperation::ApplyUpdate)
            .write(|| self.dead_letter_store.act(&act))
            .await
            .map(drop)
    }

    /// When a dead letter recorded now is due for the first time.
    pub fn first_due(&self) -> i64 {
        self.clock.now_us().saturating_add(micros(self.policy.backoff.ceiling(0)))
    }
}

/// Since when a dead letter has been waiting, microseconds since the epoch: one that was reopened has its
/// time again.
pub fn waiting_since(record: &DeadLetterRecord) -> i64 {
    let reopened = record.progress.state_at.filter(|_| record.progress.generation > 0);
    reopened.map_or(record.dead_letter.first_failed_at, |at| at.max(record.dead_letter.first_failed_at))
}

/// Whether an event that can be applied is: a discarded one never, and one that made a handler panic
/// only where a human said so, by a retry or by reopening it.
fn may_be_applied(record: &DeadLetterRecord, trigger: AttemptTrigger) -> bool {
    match (record.state(), trigger) {
        (DeadLetterState::Discarded | DeadLetterState::Recovered, _) => false,
        (DeadLetterState::Waiting, _) | (DeadLetterState::Parked, AttemptTrigger::Operator) => true,
        (DeadLetterState::Parked, AttemptTrigger::Schedule | AttemptTrigger::Sweep) => {
            applies_by_itself(record.dead_letter.reason)
        }
    }
}

/// Whether a parked dead letter of this reason is applied by itself, once its order is there.
pub fn applies_by_itself(reason: Reason) -> bool {
    match reason {
        Reason::OrderNotFound | Reason::TimestampTie => true,
        Reason::Undecodable | Reason::Invalid | Reason::PanDetected | Reason::HandlerFailed => false,
    }
}
