//! Operators, who type random commands on dead letters: retry, discard, reopen and correct.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ecom_bus::{Bus, ReceivedMessage};
use ecom_clock::Clock;
use ecom_dlq::DeadLetterQueue;
use ecom_dlq::execute::{ExecuteOptions, OperationError, StartMode};
use ecom_dlq::plan::PlanPurpose;
use ecom_dlq::selection::Selection;
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::bulk_operation::{BulkOperation, OperationKind, OperationStatus};
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, DeadLetterState, EventKind};
use ecom_domain::reason::Reason;
use ecom_domain::role;
use ecom_pipeline::durable::RoleError;
use ecom_store::memory::{Interceptor, MemoryStore};
use tokio_util::sync::CancellationToken;

use crate::oracle;
use crate::world::{Process, World, actor};

/// The commands of a script.
const SCRIPT: [OperationKind; 4] =
    [OperationKind::Correct, OperationKind::Discard, OperationKind::Reopen, OperationKind::Retry];
/// The number of dead letters for which a script waits.
const SCRIPT_DEAD_LETTERS: usize = 3;

/// The commands of all operators of a schedule, and the outcomes that they reported.
#[derive(Default)]
pub struct CommandLog {
    commands: Mutex<Commands>,
    /// The number of commands of the script that are done.
    step: AtomicUsize,
}

#[derive(Default)]
struct Commands {
    /// The number of commands in progress on each dead letter, and the number of all commands on it so far.
    in_progress: BTreeMap<DeadLetterId, (u32, u32)>,
    /// Dead letters on which a command was killed before it reported an outcome.
    killed: BTreeSet<DeadLetterId>,
    /// The outcome that the last command on a dead letter reported, if no other was in progress.
    reported: BTreeMap<DeadLetterId, ActualOutcome>,
    /// Dead letters that somebody reopened, and nobody discarded since. A copy of one that was removed is open without it.
    reopened: BTreeSet<DeadLetterId>,
    /// Dead letters that somebody discarded or corrected.
    discarded: BTreeSet<DeadLetterId>,
    /// The number of reported outcomes.
    confirmed: u64,
    corrected: u64,
    resumed: u64,
    stopped: u64,
}

/// A command in progress on dead letters. Dropped before its end, it was killed.
struct CommandInProgress<'l> {
    log: &'l CommandLog,
    dead_letters: Vec<(DeadLetterId, u32)>,
}

impl CommandLog {
    fn begin<'l>(&'l self, dead_letters: impl IntoIterator<Item = DeadLetterId>) -> CommandInProgress<'l> {
        let mut commands = self.commands();
        let begin = |id: DeadLetterId| {
            commands.reported.remove(&id);
            let (now, ever) = commands.in_progress.entry(id.clone()).or_default();
            (*now, *ever) = (*now + 1, *ever + 1);
            (id, *ever)
        };
        let dead_letters = dead_letters.into_iter().map(begin).collect();
        CommandInProgress { log: self, dead_letters }
    }

    fn commands(&self) -> MutexGuard<'_, Commands> {
        self.commands.lock().expect("no holder panics")
    }

    /// Returns whether every command of the script is done.
    pub fn script_is_done(&self) -> bool {
        self.step.load(Ordering::Relaxed) == SCRIPT.len()
    }

    /// Returns the dead letters that were discarded or corrected, and not reopened since.
    pub fn discarded(&self) -> Vec<DeadLetterId> {
        let commands = self.commands();
        let is_open = |id: &&DeadLetterId| {
            let outcome = commands.reported.get(id);
            matches!(outcome, Some(ActualOutcome::Waiting | ActualOutcome::Parked))
                && commands.reopened.contains(id)
        };
        commands.discarded.iter().filter(|id| !is_open(id)).cloned().collect()
    }

    /// Returns how often each kind of event happened.
    pub fn counts(&self) -> [(&'static str, u64); 4] {
        let Commands { confirmed, corrected, resumed, stopped, .. } = *self.commands();
        [("confirmed", confirmed), ("corrected", corrected), ("resumed", resumed), ("stopped early", stopped)]
    }

    /// The outcomes that the last commands reported, of the dead letters that no other command changed since.
    pub fn reported(&self) -> BTreeMap<DeadLetterId, ActualOutcome> {
        self.commands().reported.clone()
    }
}

impl CommandInProgress<'_> {
    /// Ends the command, which reported these outcomes.
    fn end(mut self, outcomes: &BTreeMap<DeadLetterId, ActualOutcome>) {
        let mut commands = self.log.commands();
        for (id, number) in std::mem::take(&mut self.dead_letters) {
            let (now, ever) = commands.in_progress.get_mut(&id).expect("it was begun");
            *now -= 1;
            let alone = *now == 0 && *ever == number;
            if let Some(outcome) = outcomes.get(&id)
                && alone
                && !commands.killed.contains(&id)
            {
                commands.reported.insert(id, *outcome);
                commands.confirmed += 1;
            }
        }
    }
}

impl Drop for CommandInProgress<'_> {
    fn drop(&mut self) {
        let mut commands = self.log.commands();
        for (id, _) in std::mem::take(&mut self.dead_letters) {
            commands.in_progress.get_mut(&id).expect("it was begun").0 -= 1;
            commands.killed.insert(id);
        }
    }
}

impl World {
    /// Returns the commands of an operator who reaches this store and has this clock.
    pub fn queue<I: Interceptor + 'static>(
        &self,
        store: &Arc<MemoryStore<I>>,
        clock: Clock,
    ) -> DeadLetterQueue {
        let (_, retrier) = self.retrier(role::Role::DlqHandler);
        DeadLetterQueue {
            unreadable: Arc::default(),
            facts: store.clone(),
            dead_letter_store: store.clone(),
            operations: store.clone(),
            retrier,
            clock,
            entropy: Arc::clone(&self.entropy),
            actor: actor(),
            window: 3,
        }
    }

    /// Types random commands until the process is stopped.
    ///
    /// # Errors
    /// The store refused a statement.
    pub(crate) async fn operate(&self, process: &Process) -> Result<(), RoleError> {
        let queue = self.queue(&process.store, self.skewed());
        if self.conditions.scripted {
            return self.type_script(process, &queue).await;
        }
        while !process.bus.stop.is_cancelled() {
            let wait = Duration::from_millis(10 + self.index(60) as u64);
            tokio::time::sleep(wait).await;
            // A command fails if it meets an outage while it reads.
            match self.command(process, &queue).await {
                Err(RoleError::Store(error)) if error.is_outage() => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Types one command of each kind, and repeats one that failed or whose process was killed.
    async fn type_script(&self, process: &Process, queue: &DeadLetterQueue) -> Result<(), RoleError> {
        while !self.commands.script_is_done() && !process.bus.stop.is_cancelled() {
            let step = self.commands.step.load(Ordering::Relaxed);
            match self.script_step(process, queue, step).await {
                Ok(true) => self.commands.step.store(step + 1, Ordering::Relaxed),
                Ok(false) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(RoleError::Store(error)) if error.is_outage() => {}
                Err(error) => return Err(error),
            }
        }
        process.bus.stop.cancelled().await;
        Ok(())
    }

    /// Returns false if the command has to be typed later.
    async fn script_step(
        &self,
        process: &Process,
        queue: &DeadLetterQueue,
        step: usize,
    ) -> Result<bool, RoleError> {
        let records: Vec<DeadLetterRecord> = self.store.tables().records().collect();
        if records.len() < SCRIPT_DEAD_LETTERS {
            return Ok(false);
        }
        let unfinished = self.unfinished();
        if let Some(operation) = unfinished.into_iter().next() {
            self.execute(queue, operation, StartMode::Resumed).await?;
        }
        let of = |state| -> Vec<DeadLetterId> {
            let ids = records.iter().filter(|record| record.state() == state);
            ids.map(|record| record.dead_letter.id.clone()).collect()
        };
        let (kind, ids) = match SCRIPT[step] {
            OperationKind::Correct => {
                let invalid = records.iter().find(|record| record.dead_letter.reason == Reason::Invalid);
                let Some(invalid) = invalid else { return Ok(false) };
                self.correct(process, queue, invalid).await?;
                return Ok(true);
            }
            OperationKind::Discard => (OperationKind::Discard, of(DeadLetterState::Parked)),
            OperationKind::Reopen => (OperationKind::Reopen, of(DeadLetterState::Discarded)),
            OperationKind::Retry => (OperationKind::Retry, Vec::new()),
        };
        let selection = Selection { ids, ..Selection::default() };
        let plan = queue.plan(kind, selection, PlanPurpose::Begin, &|_| {}).await?;
        if plan.dead_letters > 0 {
            let operation = queue.begin(plan, None).await?;
            self.execute(queue, operation, StartMode::Fresh).await?;
        }
        Ok(true)
    }

    fn unfinished(&self) -> Vec<BulkOperation> {
        let is_unfinished = |operation: &&BulkOperation| {
            operation.state != OperationStatus::Finished && operation.kind != OperationKind::Correct
        };
        self.store.tables().operations.values().filter(is_unfinished).cloned().collect()
    }

    async fn command(&self, process: &Process, queue: &DeadLetterQueue) -> Result<(), RoleError> {
        let unfinished = self.unfinished();
        if !unfinished.is_empty() && self.entropy.share() < 0.3 {
            let operation = unfinished[self.index(unfinished.len())].clone();
            self.commands.commands().resumed += 1;
            return self.execute(queue, operation, StartMode::Resumed).await;
        }
        let records: Vec<DeadLetterRecord> = self.store.tables().records().collect();
        if records.is_empty() {
            return Ok(());
        }
        let share = self.entropy.share();
        let kind = match share {
            _ if share < 0.3 => OperationKind::Retry,
            _ if share < 0.55 => OperationKind::Discard,
            // The numbers of corrections are removed with their dead letter: only its copies may be gone before.
            _ if share < 0.8 || self.conditions.removes() => OperationKind::Reopen,
            _ => {
                let record = &records[self.index(records.len())];
                return self.correct(process, queue, record).await;
            }
        };
        let mut selection = Selection::default();
        if kind != OperationKind::Retry || self.entropy.share() < 0.5 {
            let some = 1 + self.index(3);
            selection.ids =
                (0..some).map(|_| records[self.index(records.len())].dead_letter.id.clone()).collect();
        }
        let plan = queue.plan(kind, selection, PlanPurpose::Begin, &|_| {}).await?;
        if plan.dead_letters == 0 || self.entropy.share() < 0.05 {
            return Ok(());
        }
        let operation = queue.begin(plan, Some("because".into())).await?;
        self.execute(queue, operation, StartMode::Fresh).await
    }

    async fn execute(
        &self,
        queue: &DeadLetterQueue,
        operation: BulkOperation,
        start: StartMode,
    ) -> Result<(), RoleError> {
        let mut dead_letters = Vec::new();
        for number in 0..operation.batches {
            let batch = queue.retrier.read(|| queue.operations.batch(&operation.id, number)).await?;
            dead_letters
                .extend(batch.expect("a planned batch is stored").dead_letters.into_iter().map(|(id, _)| id));
        }
        let command = self.commands.begin(dead_letters.clone());
        if operation.kind == OperationKind::Discard {
            let mut commands = self.commands.commands();
            commands.discarded.extend(dead_letters.iter().cloned());
            commands.reopened.retain(|id| !dead_letters.contains(id));
        }
        let resolver = queue.resolver(&operation, self.conditions.policy);
        let stop = CancellationToken::new();
        let hurried = self.entropy.share() < 0.15;
        let done = |dead_letters: u64| {
            if hurried && dead_letters > 0 {
                stop.cancel();
            }
        };
        let rate = (self.entropy.share() < 0.5).then_some(400.0);
        let options = ExecuteOptions { start, rate, canary: 2, stop: stop.clone(), done: &done };
        let (id, planned, kind) = (operation.id.clone(), operation.dead_letters, operation.kind);
        let ended = queue.execute(operation, &resolver, &options).await;
        let ended = ended.map_err(|error| match error {
            OperationError::Role(error) => error,
            error @ OperationError::BatchNotFound { .. } => panic!("seed {}: {error}", self.seed),
        })?;
        let finished = ended.operation.state == OperationStatus::Finished;
        assert_eq!(finished, ended.counts.dead_letters() == planned, "seed {}: {ended:?}", self.seed);
        self.commands.commands().stopped += u64::from(!finished);
        // The report has counts only; the outcome of each dead letter is in its history.
        let mut outcomes = BTreeMap::new();
        if finished && matches!(kind, OperationKind::Discard | OperationKind::Reopen) {
            for dead_letter in dead_letters {
                let recorded =
                    ActualOutcome::recorded(&self.store.tables().history(&dead_letter), id.as_str());
                let now = self.store.tables().record(&dead_letter);
                if now.as_ref().is_some_and(|record| record.progress.generation > 0) {
                    self.commands.commands().reopened.insert(dead_letter.clone());
                }
                let now = now.map(|record| ActualOutcome::from(record.state()));
                if recorded == now {
                    outcomes.extend(recorded.map(|outcome| (dead_letter, outcome)));
                }
            }
        }
        command.end(&outcomes);
        Ok(())
    }

    /// Corrects a dead letter by one of two bodies, so that a correction is often repeated after a crash.
    async fn correct(
        &self,
        process: &Process,
        queue: &DeadLetterQueue,
        record: &DeadLetterRecord,
    ) -> Result<(), RoleError> {
        let dead_letter = &record.dead_letter;
        let topic = match dead_letter.kind {
            EventKind::Payment => "payments",
            EventKind::Order => "orders",
        };
        let order = dead_letter
            .order_id
            .map_or_else(|| 1 + dead_letter.t.micros() % self.conditions.orders, |order| order.0);
        // An event of this order that is not recorded yet may have the T that the correction takes, and no reader can see it.
        let of_order = format!(r#""order_id":{order},"#);
        let is_recorded = |received: &ReceivedMessage| {
            !String::from_utf8_lossy(&received.message.body).contains(&of_order)
                || oracle::effect_is_there(false, &self.store.tables(), &self.broker, topic, received).is_ok()
        };
        if !self.broker.log(topic).iter().all(is_recorded) {
            return Ok(());
        }
        let which = self.index(2) as i64;
        let body = match dead_letter.kind {
            EventKind::Payment => format!(
                r#"{{"payment_id":{},"order_id":{order},"payment_method":"PayPal","payment_status":"Completed","payment_datetime":"corrected {which}"}}"#,
                dead_letter.t.micros() % 1_000_000 + 1,
            ),
            EventKind::Order => format!(
                r#"{{"order_id":{order},"customer_id":{},"item":"corrected {which}","quantity":1,"price":1.5,"shipping_address":"x","order_status":"Pending","creation_date":"2024"}}"#,
                dead_letter.t.micros() % 1_000 + 1,
            ),
        };
        let Ok(plan) = queue.plan_correction(&dead_letter.id, body.into()).await else { return Ok(()) };
        let operation =
            queue.begin(queue.plan_one(OperationKind::Correct, &plan.record, plan.verdict), None).await?;
        let command = self.commands.begin([dead_letter.id.clone()]);
        self.commands.commands().discarded.insert(dead_letter.id.clone());
        let resolver = queue.resolver(&operation, self.conditions.policy);
        let publisher = process.bus.publisher(topic, 4).await.expect("a simulated topic can be published to");
        if queue.correct(&plan, &resolver, publisher.as_ref()).await.is_ok() {
            self.commands.commands().corrected += 1;
        }
        command.end(&BTreeMap::new());
        Ok(())
    }
}
