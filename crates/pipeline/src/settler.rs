//! Settling letters against the fact table: `recovered` on evidence only. Handlers, sweeps and desks
//! all attempt letters by this code, so that a verdict read from the same functions can be believed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;

use super::assess::{Subject, standing, subject};
use super::durable::{Halt, Retrying};
use super::letters::Actor;
use super::order_locks::{OrderLocks, Turn};
use super::retries::RetryPolicy;
use ecom_clock::{Chance, Clock, micros};
use ecom_domain::event_time::EventTime;
use ecom_domain::letter::{Act, Action, Change, HistoryEntry, Kind, LetterId, LetterRecord, State};
use ecom_domain::order::OrderId;
use ecom_domain::outcome::Outcome;
use ecom_domain::reason::Reason;
use ecom_domain::verdict::Standing;
use ecom_store::{FactStore, Ledger};
use ecom_telemetry::metrics::{Operation, Resolution};

/// Why a letter is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Occasion {
    /// Its next attempt is due: only waiting letters.
    Schedule,
    /// A pass over everything, whatever the schedule says: parked and discarded letters too.
    Pass,
    /// A human asked for it: every open letter, whatever its reason; a line of the history says
    /// what came of it. The schedule stays as it is.
    Desk,
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

/// What the fact table says of a letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Finding {
    /// The row shows its event, or a newer one.
    Closes(&'static str),
    /// It cannot be applied as things are, and waiting does not help.
    Parks(&'static str),
    /// Nothing changes.
    Rests(&'static str),
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
    /// Why, where a human said so: for the history.
    pub note: Option<String>,
}

impl Settler {
    /// Looks at a letter and does what the evidence allows. An order that was applied lets the open
    /// payments of that order be looked at, too, before anything else is done about the order.
    pub async fn attempt(&self, id: &LetterId, occasion: Occasion) -> Result<Stand, Halt> {
        self.look_at(id, occasion, None).await
    }

    /// Looks at a letter, in the turn of its order that is `held` or else in one of its own.
    async fn look_at(
        &self,
        id: &LetterId,
        occasion: Occasion,
        held: Option<&Turn<'_>>,
    ) -> Result<Stand, Halt> {
        let Some(record) = self.letter(id).await? else { return Ok(Stand::Gone) };
        let state = record.state();
        match (state, occasion) {
            (State::Recovered, _)
            | (State::Parked | State::Discarded, Occasion::Schedule)
            | (State::Discarded, Occasion::Desk) => return Ok(Stand::Rests(state)),
            (State::Waiting, _)
            | (State::Parked, Occasion::Pass | Occasion::Desk)
            | (State::Discarded, Occasion::Pass) => {}
        }
        let Some(subject) = subject(&record.letter) else {
            return self.conclude(&record, occasion, Finding::Parks("its body is no event")).await;
        };
        let own;
        let turn = match held {
            Some(turn) => turn,
            None => {
                own = self.locks.lock(subject.order_id()).await;
                &own
            }
        };
        let stand = match state {
            State::Waiting if occasion != Occasion::Desk => {
                self.await_order(&record, &subject, occasion).await?
            }
            _ => {
                let finding = match may_be_applied(&record, occasion) {
                    true => self.settle(&record, &subject).await?,
                    false => self.audit(&record, &subject).await?,
                };
                self.conclude(&record, occasion, finding).await?
            }
        };
        if let (Stand::Rests(State::Recovered), Subject::Order(order)) = (stand, &subject) {
            self.recheck_in(turn, order.order_id).await?;
        }
        Ok(stand)
    }

    /// Looks at the open payment letters of an order that has just been applied.
    pub async fn recheck(&self, order: OrderId) -> Result<(), Halt> {
        let turn = self.locks.lock(order).await;
        self.recheck_in(&turn, order).await
    }

    async fn recheck_in(&self, turn: &Turn<'_>, order: OrderId) -> Result<(), Halt> {
        let open = || {
            let letters = self.ledger.letters_of(order);
            let payments = letters.try_filter_map(|record| {
                let wanted = record.letter.kind == Kind::Payment && record.state().is_open();
                std::future::ready(Ok(wanted.then_some(record.letter.id)))
            });
            payments.try_collect::<Vec<LetterId>>()
        };
        for id in self.retrying.storing(Operation::LettersOf).read(open).await? {
            // A payment letter rechecks nothing itself.
            Box::pin(self.look_at(&id, Occasion::Pass, Some(turn))).await?;
        }
        Ok(())
    }

    /// Reads a letter, through outages.
    pub async fn letter(&self, id: &LetterId) -> Result<Option<LetterRecord>, Halt> {
        self.retrying.storing(Operation::Letter).read(|| self.ledger.letter(id)).await
    }

    /// The next attempt of a waiting letter, where it is due.
    async fn await_order(
        &self,
        record: &LetterRecord,
        subject: &Subject<'_>,
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
        let line = self.line(Action::Attempted, &format!("attempt {attempts}"));
        self.act(record, change, line).await?;
        let mut finding = self.settle(record, subject).await?;
        if matches!(finding, Finding::Rests(_))
            && now.saturating_sub(waits_since(record)) > micros(self.policy.max_age)
        {
            finding = Finding::Parks("its order did not come within max_age");
        }
        match self.conclude(record, occasion, finding).await? {
            Stand::Rests(State::Waiting) => Ok(Stand::Waits(next_attempt_at)),
            stand => Ok(stand),
        }
    }

    /// Read, apply, read again: closed only when the row shows this event or a newer one.
    async fn settle(&self, record: &LetterRecord, subject: &Subject<'_>) -> Result<Finding, Halt> {
        let t = record.letter.t;
        let mut written = false;
        loop {
            return Ok(match self.standing(subject, t).await? {
                Standing::AppliesNow if !written => {
                    self.write(record, subject).await?;
                    written = true;
                    continue;
                }
                Standing::AlreadyApplied if written => Finding::Closes("applied"),
                Standing::AlreadyApplied => Finding::Closes("already applied"),
                Standing::Superseded => Finding::Closes("superseded by a newer event"),
                Standing::AppliesNow | Standing::StillWaiting if written => {
                    Finding::Parks("written, but the row does not show it: was it deleted by hand?")
                }
                Standing::AppliesNow | Standing::StillWaiting => Finding::Rests("its order is not there"),
                Standing::Conflict => Finding::Parks("the row holds another event of the same event time"),
            });
        }
    }

    /// How an event stands to its row, through outages.
    async fn standing(&self, subject: &Subject<'_>, t: EventTime) -> Result<Standing, Halt> {
        let operation = match subject {
            Subject::Order(_) => Operation::Fact,
            Subject::Payment(_) => Operation::PaymentSlot,
        };
        let storing = self.retrying.storing(operation);
        storing.read(|| standing(self.facts.as_ref(), subject, t)).await
    }

    async fn write(&self, record: &LetterRecord, subject: &Subject<'_>) -> Result<(), Halt> {
        let t = record.letter.t;
        let written = match subject {
            Subject::Order(order) => {
                let storing = self.retrying.storing(Operation::RecordOrder);
                storing.write(|| self.facts.record_order(order, t)).await
            }
            Subject::Payment(payment) => {
                let storing = self.retrying.storing(Operation::RecordPayment);
                storing.write(|| self.facts.record_payment(payment, t)).await
            }
        };
        written.map(drop)
    }

    /// A letter that is not to be applied is closed when its event has become current all the same.
    /// A discarded one that was superseded stays what a human made it.
    async fn audit(&self, record: &LetterRecord, subject: &Subject<'_>) -> Result<Finding, Halt> {
        Ok(match (self.standing(subject, record.letter.t).await?, record.state()) {
            (Standing::AlreadyApplied, _) => Finding::Closes("applied by a redelivery"),
            (Standing::Superseded, State::Parked) => Finding::Closes("superseded by a newer event"),
            _ => Finding::Rests("not applied by itself"),
        })
    }

    /// Writes what was found. A finding that changes nothing leaves a line only where a human asked.
    async fn conclude(
        &self,
        record: &LetterRecord,
        occasion: Occasion,
        finding: Finding,
    ) -> Result<Stand, Halt> {
        let state = record.state();
        let (becomes, words) = match finding {
            Finding::Closes(words) => (State::Recovered, words),
            Finding::Parks(words) if state == State::Waiting => (State::Parked, words),
            Finding::Parks(words) | Finding::Rests(words) => (state, words),
        };
        let (action, change) = match becomes {
            _ if becomes == state => (Action::Attempted, Change::Nothing),
            State::Recovered => (Action::Recovered, self.becomes(record.progress.generation, becomes)),
            State::Waiting | State::Parked | State::Discarded => {
                (Action::Parked, self.becomes(record.progress.generation, becomes))
            }
        };
        match occasion {
            Occasion::Desk => self.act(record, change, self.outcome(action, words, becomes.into())).await?,
            Occasion::Schedule | Occasion::Pass if becomes == state => {}
            Occasion::Schedule | Occasion::Pass => self.act(record, change, self.line(action, words)).await?,
        }
        if becomes != state {
            self.count(record, becomes);
        }
        Ok(Stand::Rests(becomes))
    }

    fn count(&self, record: &LetterRecord, becomes: State) {
        let resolution = match becomes {
            State::Recovered => Resolution::Recovered,
            State::Parked => Resolution::Parked,
            State::Waiting | State::Discarded => return,
        };
        let age = self.clock.now_us().saturating_sub(record.letter.first_failed_at);
        let age = Duration::from_micros(u64::try_from(age).unwrap_or_default());
        self.retrying.metrics().resolved(resolution, age);
    }

    /// The change to a state of a generation, now.
    pub fn becomes(&self, generation: u32, state: State) -> Change {
        Change::State { generation, state, at: self.clock.now_us() }
    }

    /// A line of the history, signed.
    pub fn line(&self, action: Action, words: &str) -> HistoryEntry {
        let entry_id = self.chance.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
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

    /// The line that tells what came of a letter in this run, for a run that goes on from here.
    pub fn outcome(&self, action: Action, words: &str, outcome: Outcome) -> HistoryEntry {
        HistoryEntry { entry_id: outcome.entry_id(&self.actor.run_id), ..self.line(action, words) }
    }

    /// Writes a change and its line, through outages.
    pub async fn act(&self, record: &LetterRecord, change: Change, entry: HistoryEntry) -> Result<(), Halt> {
        let act = Act { letter: record.letter.id.clone(), t: record.letter.t, change, entry };
        self.retrying.storing(Operation::Act).write(|| self.ledger.act(&act)).await.map(drop)
    }

    /// When a letter recorded now is due for the first time.
    pub fn first_due(&self) -> i64 {
        self.clock.now_us().saturating_add(micros(self.policy.backoff.ceiling(0)))
    }
}

/// Since when a letter has been waiting, microseconds since the epoch: one that was reopened has its
/// time again.
pub fn waits_since(record: &LetterRecord) -> i64 {
    let reopened = record.progress.state_at.filter(|_| record.progress.generation > 0);
    reopened.map_or(record.letter.first_failed_at, |at| at.max(record.letter.first_failed_at))
}

/// Whether an event that can be applied is: a discarded one never, and one that made a handler panic
/// only where a human said so, by a retry or by reopening it.
fn may_be_applied(record: &LetterRecord, occasion: Occasion) -> bool {
    match (record.state(), occasion) {
        (State::Discarded | State::Recovered, _) => false,
        (State::Waiting, _) | (State::Parked, Occasion::Desk) => true,
        (State::Parked, Occasion::Schedule | Occasion::Pass) => applies_by_itself(record.letter.reason),
    }
}

/// Whether a parked letter of this reason is applied by itself, once its order is there.
pub fn applies_by_itself(reason: Reason) -> bool {
    match reason {
        Reason::OrderNotFound | Reason::TimestampTie => true,
        Reason::Undecodable | Reason::Invalid | Reason::PanDetected | Reason::HandlerFailed => false,
    }
}
