//! Two operators and two handlers at once, with clock skew and faults of every kind: whatever the operators
//! retry, discard, reopen and correct, the rules of the dead-letter store hold.
//!
//! `ECOM_SCHEDULES=1000 ECOM_FIRST=2000 cargo test two_operators` runs the seeds 2000 to 2999, and
//! `ECOM_SEED=… cargo test two_operators` runs one alone.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecom_bus::Bus;
use ecom_dlq::DeadLetterQueue;
use ecom_dlq::execute::{ExecuteOptions, StartMode};
use ecom_dlq::plan::PlanPurpose;
use ecom_dlq::selection::Selection;
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::bulk_operation::{BulkOperation, OperationKind, OperationStatus};
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, EventKind};
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{OrderCells, PaymentCells};
use ecom_domain::order::OrderId;
use ecom_domain::role;
use ecom_pipeline::durable::RoleError;
use ecom_scenario::Mixture;
use tokio_util::sync::CancellationToken;

use super::final_state::FinalState;
use super::world::{Role, RunningRole, World, actor, kill_one, new_world, policy, start};
use super::{EventCounts, ROUGH, run_schedules};

/// The roles that run side by side.
const ROLES: [Role; 7] = [
    Role::Orders,
    Role::Payments,
    Role::Payments,
    Role::Handler,
    Role::Handler,
    Role::Operator,
    Role::Operator,
];
/// A mixture that leaves many dead letters.
const MANY_DEAD_LETTERS: Mixture = Mixture { late_orders: 0.4, missing_orders: 0.2, invalid: 0.3, ..ROUGH };
const ORDERS: i64 = 16;

/// The commands of all operators of a schedule, and the outcomes that they reported.
#[derive(Default)]
pub struct CommandLog(Mutex<Commands>);

#[derive(Default)]
struct Commands {
    /// The number of commands in progress on each dead letter, and the number of all commands on it so far.
    in_progress: BTreeMap<DeadLetterId, (u32, u32)>,
    /// Dead letters on which a command was killed before it reported an outcome.
    killed: BTreeSet<DeadLetterId>,
    /// The outcome that the last command on a dead letter reported, if no other was in progress.
    reported: BTreeMap<DeadLetterId, ActualOutcome>,
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
        let mut commands = self.0.lock().unwrap();
        let begin = |id: DeadLetterId| {
            commands.reported.remove(&id);
            let (now, ever) = commands.in_progress.entry(id.clone()).or_default();
            (*now, *ever) = (*now + 1, *ever + 1);
            (id, *ever)
        };
        let dead_letters = dead_letters.into_iter().map(begin).collect();
        CommandInProgress { log: self, dead_letters }
    }

    /// The outcomes that the last commands reported, of the dead letters that no other command changed since.
    fn reported(&self) -> BTreeMap<DeadLetterId, ActualOutcome> {
        self.0.lock().unwrap().reported.clone()
    }
}

impl CommandInProgress<'_> {
    /// Ends the command, which reported these outcomes.
    fn end(mut self, outcomes: &BTreeMap<DeadLetterId, ActualOutcome>) {
        let mut commands = self.log.0.lock().unwrap();
        for (id, number) in std::mem::take(&mut self.dead_letters) {
            let (now, ever) = commands.in_progress.get_mut(&id).unwrap();
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
        let mut commands = self.log.0.lock().unwrap();
        for (id, _) in std::mem::take(&mut self.dead_letters) {
            commands.in_progress.get_mut(&id).unwrap().0 -= 1;
            commands.killed.insert(id);
        }
    }
}

impl World {
    fn queue(&self) -> DeadLetterQueue {
        let (_, retrier) = self.retrier(role::Role::DlqHandler);
        DeadLetterQueue {
            unreadable: Arc::default(),
            facts: self.store.clone(),
            dead_letter_store: self.store.clone(),
            operations: self.store.clone(),
            retrier,
            clock: self.skewed(),
            entropy: Arc::clone(&self.entropy),
            actor: actor(),
            window: 3,
        }
    }

    /// An operator, who types random commands until the role is stopped.
    pub(super) async fn operate(&self, stop: CancellationToken) {
        let queue = self.queue();
        while !stop.is_cancelled() {
            let wait = Duration::from_millis(10 + self.index(60) as u64);
            tokio::time::sleep(wait).await;
            // A command fails if it meets an outage while it reads.
            if let Err(error) = self.command(&queue).await {
                let outage = matches!(&error, RoleError::Store(error) if error.is_outage());
                assert!(outage, "seed {}: {error}", self.seed);
            }
        }
    }

    async fn command(&self, queue: &DeadLetterQueue) -> Result<(), RoleError> {
        let unfinished: Vec<BulkOperation> = self
            .store
            .tables()
            .operations
            .values()
            .filter(|operation| {
                operation.state != OperationStatus::Finished && operation.kind != OperationKind::Correct
            })
            .cloned()
            .collect();
        if !unfinished.is_empty() && self.entropy.share() < 0.3 {
            let operation = unfinished[self.index(unfinished.len())].clone();
            self.commands.0.lock().unwrap().resumed += 1;
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
            _ if share < 0.8 => OperationKind::Reopen,
            _ => {
                let record = &records[self.index(records.len())];
                return self.correct(queue, record).await;
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
            dead_letters.extend(batch.unwrap().dead_letters.into_iter().map(|(id, _)| id));
        }
        let command = self.commands.begin(dead_letters.clone());
        let resolver = queue.resolver(&operation, policy());
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
        let ended = ended.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let finished = ended.operation.state == OperationStatus::Finished;
        assert_eq!(finished, ended.counts.dead_letters() == planned, "seed {}: {ended:?}", self.seed);
        self.commands.0.lock().unwrap().stopped += u64::from(!finished);
        // The report has counts only; the outcome of each dead letter is in its history.
        let mut outcomes = BTreeMap::new();
        if finished && matches!(kind, OperationKind::Discard | OperationKind::Reopen) {
            for dead_letter in dead_letters {
                let recorded =
                    ActualOutcome::recorded(&self.store.tables().history(&dead_letter), id.as_str());
                let now = self.store.tables().record(&dead_letter);
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
    async fn correct(&self, queue: &DeadLetterQueue, record: &DeadLetterRecord) -> Result<(), RoleError> {
        let dead_letter = &record.dead_letter;
        let which = self.index(2) as i64;
        let order = dead_letter.order_id.map_or_else(|| 1 + dead_letter.t.micros() % ORDERS, |order| order.0);
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
        let resolver = queue.resolver(&operation, policy());
        let topic = match dead_letter.kind {
            EventKind::Payment => "payments",
            EventKind::Order => "orders",
        };
        let publisher = self.broker.publisher(topic, 4).await.unwrap();
        if queue.correct(&plan, &resolver, publisher.as_ref()).await.is_ok() {
            self.commands.0.lock().unwrap().corrected += 1;
        }
        command.end(&BTreeMap::new());
        Ok(())
    }
}

async fn schedule(seed: u64) -> EventCounts {
    let (world, manifest) = new_world(seed, ORDERS, MANY_DEAD_LETTERS);
    let started = world.broker.now_us();
    let mut running: Vec<RunningRole> = ROLES.into_iter().map(|role| start(&world, role)).collect();
    let (mut crashes, mut replays) = (0, 0);
    let mut deletes: BTreeMap<OrderId, i64> = BTreeMap::new();
    let may_delete = seed.is_multiple_of(5);
    let published = Cell::new(false);
    let producing = async {
        world.publish_all(&manifest).await;
        published.set(true);
    };
    let chaos = async {
        while !published.get() || world.broker.now_us() < started + 2_000_000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if world.entropy.share() < 0.2 {
                kill_one(&world, &mut running).await;
                crashes += 1;
            }
            if world.entropy.share() < 0.1 {
                world.broker.replay(["orders", "payments", "dead_letters"][world.index(3)]);
                replays += 1;
            }
            if may_delete && deletes.is_empty() && world.entropy.share() < 0.02 {
                let order = OrderId(1 + world.index(ORDERS as usize) as i64);
                let at = world.broker.now_us();
                let (mut tables, t) = (world.store.tables(), EventTime::stored(at));
                // As by hand.
                tables.record_order(order, OrderCells::default(), t);
                tables.record_payment(order, PaymentCells::default(), t);
                deletes.insert(order, at);
            }
        }
    };
    tokio::join!(producing, chaos);
    for operator in running.iter().filter(|running| running.role == Role::Operator) {
        operator.stop.cancel();
    }
    world.heal();
    for operator in running.extract_if(.., |running| running.role == Role::Operator) {
        let ended = tokio::time::timeout(Duration::from_secs(120), operator.task).await;
        ended.unwrap_or_else(|_| panic!("seed {seed}: an operator does not end")).unwrap();
    }
    world.drain(running).await;
    let (orders, payments) = (world.broker.log("orders"), world.broker.log("payments"));
    let deleted = deletes.len() as u64;
    let tables = world.store.tables().clone();
    let rows = tables.facts().map(|row| (row.order_id, row)).collect();
    let state = FinalState { seed, rows, dead_letters: tables.records().collect(), deletes };
    state.check_messages(EventKind::Order, &orders);
    state.check_messages(EventKind::Payment, &payments);
    state.check_reported_outcomes(&world.commands.reported());
    state.check_operations(tables.operations.values());
    state.check_corrections(&[orders, payments].concat());
    if deleted == 0 {
        world.assert_clean(&manifest).await;
    }
    let commands = world.commands.0.lock().unwrap();
    EventCounts::from([
        ("crashes", crashes),
        ("late_writes", world.store.interceptor.late_writes()),
        ("confirmed", commands.confirmed),
        ("corrected", commands.corrected),
        ("resumed", commands.resumed),
        ("stopped", commands.stopped),
        ("replays", replays),
        ("deleted", deleted),
    ])
}

#[test]
fn two_operators_and_two_handlers_keep_the_rules_of_the_dead_letter_store_in_any_interleaving() {
    run_schedules(40, schedule, |event, schedules| match event {
        "stopped" => schedules / 4,
        "deleted" => schedules / 20,
        _ => schedules,
    });
}
