//! Resolving dead letters against the fact table. A dead letter becomes `recovered` on evidence only: its row
//! shows its event, or a newer one. Retries, sweeps and operators all attempt dead letters here, and
//! predicted verdicts come from the same checks.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;

use super::actor::Actor;
use super::apply_check::{compare, subject};
pub use super::attempt::{AttemptResult, AttemptTrigger};
use super::durable::{Retrier, RoleError};
use super::order_locks::{OrderGuard, OrderLocks};
use super::payments::record_superseded;
use super::retry_policy::{RetryPolicy, applies_automatically};
use ecom_clock::{Clock, Entropy, micros};
use ecom_codec::event::Event;
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::dead_letter::{
    DeadLetterChange, DeadLetterId, DeadLetterRecord, DeadLetterState, DeadLetterUpdate, EventKind,
    HistoryAction, HistoryEntry, HistoryOutcome,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::SupersededPayment;
use ecom_domain::order::OrderId;
use ecom_domain::verdict::ApplyCheck;
use ecom_store::{DeadLetterStore, FactStore};
use ecom_telemetry::metrics::{Resolution, StoreOperation};
use ecom_telemetry::traces::{self, TRACEPARENT};

/// The change of state that the fact table calls for, with the outcome for the history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Finding {
    /// Recovered: the row shows its event, or a newer one.
    Closes(HistoryOutcome),
    /// Parked: it cannot be applied, and waiting does not help.
    Parks(HistoryOutcome),
    /// Unchanged.
    Rests(HistoryOutcome),
}

/// Applies dead letters to the fact table and resolves them on evidence.
pub struct DeadLetterResolver {
    /// The fact table.
    pub facts: Arc<dyn FactStore>,
    /// The dead-letter store.
    pub dead_letter_store: Arc<dyn DeadLetterStore>,
    /// Retries calls through outages.
    pub retrier: Arc<Retrier>,
    /// Serialises the dead letters of an order within the process.
    pub locks: OrderLocks,
    /// Decides when dead letters are retried, parked and removed.
    pub policy: RetryPolicy,
    /// Wall time, for schedules and the history.
    pub clock: Clock,
    /// Jitter, and the ids of history entries.
    pub entropy: Arc<Entropy>,
    /// Signs the history entries.
    pub actor: Actor,
    /// The operator's note, for the history.
    pub note: Option<String>,
}

impl DeadLetterResolver {
    /// Attempts a dead letter: applies its event where the row allows it, and resolves it on evidence. When
    /// an order is recovered, the open payments of that order are attempted under the same lock.
    pub async fn attempt(
        &self,
        id: &DeadLetterId,
        trigger: AttemptTrigger,
    ) -> Result<AttemptResult, RoleError> {
        self.attempt_locked(id, trigger, None).await
    }

    /// Attempts a dead letter under the order lock given, or else under one it takes.
    async fn attempt_locked(
        &self,
        id: &DeadLetterId,
        trigger: AttemptTrigger,
        lock: Option<&OrderGuard<'_>>,
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
        let traceparent = record.dead_letter.attributes.get(TRACEPARENT);
        let trace = traces::retry(traceparent, trigger.as_str(), id.as_str());
        let attempting = Box::pin(self.attempt_record(&record, trigger, lock));
        let result = trace.scope().run(attempting).await?;
        trace.set("state", result.as_str());
        Ok(result)
    }

    /// Attempts a dead letter that was read, and that the trigger applies to.
    async fn attempt_record(
        &self,
        record: &DeadLetterRecord,
        trigger: AttemptTrigger,
        lock: Option<&OrderGuard<'_>>,
    ) -> Result<AttemptResult, RoleError> {
        let Some(subject) = subject(&record.dead_letter) else {
            return self.conclude(record, trigger, Finding::Parks(HistoryOutcome::Poison)).await;
        };
        let own;
        let lock = match lock {
            Some(lock) => lock,
            None => {
                own = self.locks.lock(subject.order_id()).await;
                &own
            }
        };
        self.retrier.metrics().attempted.inc();
        let result = match record.state() {
            DeadLetterState::Waiting if trigger != AttemptTrigger::Operator => {
                self.await_order(record, &subject, trigger).await?
            }
            _ => {
                let finding = match may_be_applied(record, trigger) {
                    true => self.apply(record, &subject).await?,
                    false => self.check_only(record, &subject).await?,
                };
                self.conclude(record, trigger, finding).await?
            }
        };
        if let (AttemptResult::Rests(DeadLetterState::Recovered), Event::Order(order)) = (result, &subject) {
            self.recheck_locked(lock, order.order_id).await?;
        }
        Ok(result)
    }

    /// Attempts the open payment dead letters of an order that has just been applied.
    pub async fn recheck(&self, order: OrderId) -> Result<(), RoleError> {
        let lock = self.locks.lock(order).await;
        self.recheck_locked(&lock, order).await
    }

    async fn recheck_locked(&self, lock: &OrderGuard<'_>, order: OrderId) -> Result<(), RoleError> {
        let open = || {
            let dead_letters = self.dead_letter_store.dead_letters_of_order(order);
            let payments = dead_letters.try_filter_map(|record| {
                let is_open_payment =
                    record.dead_letter.kind == EventKind::Payment && record.state().is_open();
                std::future::ready(Ok(is_open_payment.then_some(record.dead_letter.id)))
            });
            payments.try_collect::<Vec<DeadLetterId>>()
        };
        for id in self.retrier.storing(StoreOperation::DeadLettersOf).read(open).await? {
            // Recursion ends here: a payment rechecks nothing itself.
            Box::pin(self.attempt_locked(&id, AttemptTrigger::Sweep, Some(lock))).await?;
        }
        Ok(())
    }

    /// Reads a dead letter, through outages.
    pub async fn dead_letter(&self, id: &DeadLetterId) -> Result<Option<DeadLetterRecord>, RoleError> {
        self.retrier.storing(StoreOperation::DeadLetter).read(|| self.dead_letter_store.dead_letter(id)).await
    }

    /// Attempts a waiting dead letter if it is due. The next attempt is scheduled before this one is made, so
    /// a crash in between loses none.
    async fn await_order(
        &self,
        record: &DeadLetterRecord,
        subject: &Event<'_>,
        trigger: AttemptTrigger,
    ) -> Result<AttemptResult, RoleError> {
        let now = self.clock.now_us();
        if trigger == AttemptTrigger::Schedule
            && let Some(due) = self.awaits_until(record, now)
        {
            return Ok(AttemptResult::Waits(due));
        }
        let (update, next_attempt_at) = self.next_schedule(record);
        self.write_update(&update).await?;
        let mut finding = self.apply(record, subject).await?;
        if matches!(finding, Finding::Rests(_)) && self.is_too_old(record, now) {
            finding = Finding::Parks(HistoryOutcome::MaxAgeExceeded);
        }
        match self.conclude(record, trigger, finding).await? {
            AttemptResult::Rests(DeadLetterState::Waiting) => Ok(AttemptResult::Waits(next_attempt_at)),
            result => Ok(result),
        }
    }

    /// Reads the row, applies the event, reads again: closes only what the row then shows, or a newer event. Of
    /// two payments the loser is recorded before the winner replaces it, and before the dead letter is closed.
    async fn apply(&self, record: &DeadLetterRecord, subject: &Event<'_>) -> Result<Finding, RoleError> {
        use HistoryOutcome::{AlreadyApplied, Applied, Conflict, NotVisible, StillWaiting, Superseded};
        let t = record.dead_letter.t;
        let mut written = false;
        loop {
            let (check, loser) = self.compare(subject, t).await?;
            return Ok(match check {
                ApplyCheck::AppliesNow if !written => {
                    self.record_superseded(loser).await?;
                    self.write(record, subject).await?;
                    written = true;
                    continue;
                }
                ApplyCheck::AlreadyApplied if written => Finding::Closes(Applied),
                ApplyCheck::AlreadyApplied => Finding::Closes(AlreadyApplied),
                ApplyCheck::Superseded => {
                    self.record_superseded(loser).await?;
                    Finding::Closes(Superseded)
                }
                ApplyCheck::AppliesNow | ApplyCheck::StillWaiting if written => Finding::Parks(NotVisible),
                ApplyCheck::AppliesNow | ApplyCheck::StillWaiting => Finding::Rests(StillWaiting),
                ApplyCheck::Conflict => Finding::Parks(Conflict),
            });
        }
    }

    /// Checks an event against its row, through outages; also returns the older one of two payments.
    async fn compare(
        &self,
        subject: &Event<'_>,
        t: EventTime,
    ) -> Result<(ApplyCheck, Option<SupersededPayment>), RoleError> {
        let operation = match subject {
            Event::Order(_) => StoreOperation::Fact,
            Event::Payment(_) => StoreOperation::PaymentSlot,
        };
        let storing = self.retrier.storing(operation);
        storing.read(|| compare(self.facts.as_ref(), subject, t)).await
    }

    async fn record_superseded(&self, superseded: Option<SupersededPayment>) -> Result<(), RoleError> {
        match superseded {
            Some(superseded) => record_superseded(&self.retrier, self.facts.as_ref(), &superseded).await,
            None => Ok(()),
        }
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

    /// Checks a dead letter that must not be applied: it is closed when a redelivery has applied its event. A
    /// discarded one that was superseded stays discarded.
    async fn check_only(&self, record: &DeadLetterRecord, subject: &Event<'_>) -> Result<Finding, RoleError> {
        let (check, loser) = self.compare(subject, record.dead_letter.t).await?;
        Ok(match (check, record.state()) {
            (ApplyCheck::AlreadyApplied, _) => Finding::Closes(HistoryOutcome::AlreadyApplied),
            (ApplyCheck::Superseded, DeadLetterState::Parked) => {
                self.record_superseded(loser).await?;
                Finding::Closes(HistoryOutcome::Superseded)
            }
            _ => Finding::Rests(HistoryOutcome::NotRetried),
        })
    }

    /// Writes the finding. One that changes nothing is written to the history only for an operator.
    async fn conclude(
        &self,
        record: &DeadLetterRecord,
        trigger: AttemptTrigger,
        finding: Finding,
    ) -> Result<AttemptResult, RoleError> {
        let state = record.state();
        let (becomes, outcome) = match finding {
            Finding::Closes(outcome) => (DeadLetterState::Recovered, outcome),
            Finding::Parks(outcome) if state == DeadLetterState::Waiting => {
                (DeadLetterState::Parked, outcome)
            }
            Finding::Parks(outcome) | Finding::Rests(outcome) => (state, outcome),
        };
        let (action, change) = match becomes {
            _ if becomes == state => (HistoryAction::Attempted, DeadLetterChange::Nothing),
            DeadLetterState::Recovered => {
                (HistoryAction::Recovered, self.state_change(record.progress.generation, becomes))
            }
            DeadLetterState::Waiting | DeadLetterState::Parked | DeadLetterState::Discarded => {
                (HistoryAction::Parked, self.state_change(record.progress.generation, becomes))
            }
        };
        let entry = match trigger {
            AttemptTrigger::Operator => Some(self.operation_entry(action, Some(outcome), becomes.into())),
            AttemptTrigger::Schedule | AttemptTrigger::Sweep => {
                (becomes != state).then(|| self.history_entry(action, Some(outcome)))
            }
        };
        if let Some(entry) = entry {
            self.record_update(record, change, entry).await?;
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

    /// The change to this state in this generation, now.
    pub fn state_change(&self, generation: u32, state: DeadLetterState) -> DeadLetterChange {
        DeadLetterChange::State { generation, state, at: self.clock.now_us() }
    }

    /// A signed history entry.
    pub fn history_entry(&self, action: HistoryAction, outcome: Option<HistoryOutcome>) -> HistoryEntry {
        let entry_id = self.entropy.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        HistoryEntry {
            outcome,
            actor: self.actor.name.clone(),
            host: self.actor.host.clone(),
            note: self.note.clone(),
            run_id: Some(self.actor.run_id.clone()),
            ..HistoryEntry::new(self.clock.now_us(), entry_id, action)
        }
    }

    /// The history entry with the outcome of a dead letter in this run, by which an interrupted run resumes.
    pub fn operation_entry(
        &self,
        action: HistoryAction,
        outcome: Option<HistoryOutcome>,
        operation_outcome: ActualOutcome,
    ) -> HistoryEntry {
        HistoryEntry {
            entry_id: operation_outcome.entry_id(&self.actor.run_id),
            operation_outcome: Some(operation_outcome),
            ..self.history_entry(action, outcome)
        }
    }

    /// Writes a change and its history entry, through outages.
    pub async fn record_update(
        &self,
        record: &DeadLetterRecord,
        change: DeadLetterChange,
        entry: HistoryEntry,
    ) -> Result<(), RoleError> {
        let generation = record.progress.generation;
        self.write_update(&DeadLetterUpdate::new(&record.dead_letter, generation, change, entry)).await
    }

    async fn write_update(&self, update: &DeadLetterUpdate) -> Result<(), RoleError> {
        let storing = self.retrier.storing(StoreOperation::ApplyUpdate);
        storing.write(|| self.dead_letter_store.apply(update)).await.map(drop)
    }

    /// The time of the first attempt of a dead letter recorded now, microseconds since the epoch.
    pub fn first_due(&self) -> i64 {
        self.clock.now_us().saturating_add(micros(self.policy.backoff.ceiling(0)))
    }
}

/// Returns true when an attempt may apply the event. A discarded one is never applied; one that made a
/// handler panic only when an operator retries or reopens it.
fn may_be_applied(record: &DeadLetterRecord, trigger: AttemptTrigger) -> bool {
    match (record.state(), trigger) {
        (DeadLetterState::Discarded | DeadLetterState::Recovered, _) => false,
        (DeadLetterState::Waiting, _) | (DeadLetterState::Parked, AttemptTrigger::Operator) => true,
        (DeadLetterState::Parked, AttemptTrigger::Schedule | AttemptTrigger::Sweep) => {
            applies_automatically(record.dead_letter.reason)
        }
    }
}
