//! Two desks and two handlers at once, clocks up to 3 s apart: whatever people retry, discard, reopen
//! and correct while everything goes wrong that can, the rules of the dead-letter store hold.
//!
//! `ECOM_SCHEDULES=1000 ECOM_FIRST=2000 cargo test two_desks` runs seeds 2000 to 2999, and
//! `ECOM_SEED=… cargo test two_desks` one alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use ecom_dlq::DeadLetterQueue;
use ecom_dlq::execute::{ExecuteOptions, StartMode};
use ecom_dlq::plan::PlanPurpose;
use ecom_dlq::selection::Selection;
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::bulk_operation::{BulkOperation, OperationKind, OperationStatus};
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord};
use ecom_domain::order::OrderId;
use ecom_domain::role;
use ecom_pipeline::durable::RoleError;

use super::judge::Judge;
use super::*;

/// The roles, and how many of each.
const STAFF: [Role; 7] = [
    Role::Orders,
    Role::Payments,
    Role::Payments,
    Role::Handler,
    Role::Handler,
    Role::Operator,
    Role::Operator,
];
/// Many dead letters: what comes late comes very late.
const LETTERED: Mixture = Mixture { late_orders: 0.4, missing_orders: 0.2, invalid: 0.3, ..ROUGH };
const ORDERS: i64 = 16;

/// What people were told, and did at the same time; shared by all desks of a schedule.
#[derive(Default)]
pub struct Told(Mutex<Acts>);

#[derive(Default)]
struct Acts {
    /// Acts on a dead letter under way, and how many there ever were.
    under_way: BTreeMap<DeadLetterId, (u32, u32)>,
    /// Dead letters on which an act was killed: nobody was told what came of it.
    killed: BTreeSet<DeadLetterId>,
    /// What the last act on a dead letter told, when no other was under way.
    told: BTreeMap<DeadLetterId, ActualOutcome>,
    /// Finished acts that were told so.
    confirmed: u64,
    corrected: u64,
    resumed: u64,
    stopped: u64,
}

/// An act on dead letters under way; dropped before its end it was killed.
struct UnderWay<'t> {
    told: &'t Told,
    dead_letters: Vec<(DeadLetterId, u32)>,
}

impl Told {
    fn begin<'t>(&'t self, dead_letters: impl IntoIterator<Item = DeadLetterId>) -> UnderWay<'t> {
        let mut acts = self.0.lock().unwrap();
        let begin = |id: DeadLetterId| {
            acts.told.remove(&id);
            let (now, ever) = acts.under_way.entry(id.clone()).or_default();
            (*now, *ever) = (*now + 1, *ever + 1);
            (id, *ever)
        };
        let dead_letters = dead_letters.into_iter().map(begin).collect();
        UnderWay { told: self, dead_letters }
    }

    /// What each dead letter's last act told, where nothing else happened to it.
    pub fn last(&self) -> BTreeMap<DeadLetterId, ActualOutcome> {
        self.0.lock().unwrap().told.clone()
    }
}

impl UnderWay<'_> {
    /// The act came to its end and told these outcomes.
    fn end(mut self, outcomes: &BTreeMap<DeadLetterId, ActualOutcome>) {
        let mut acts = self.told.0.lock().unwrap();
        for (id, number) in std::mem::take(&mut self.dead_letters) {
            let (now, ever) = acts.under_way.get_mut(&id).unwrap();
            *now -= 1;
            let alone = *now == 0 && *ever == number;
            if let Some(outcome) = outcomes.get(&id)
                && alone
                && !acts.killed.contains(&id)
            {
                acts.told.insert(id, *outcome);
                acts.confirmed += 1;
            }
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut acts = self.told.0.lock().unwrap();
        for (id, _) in std::mem::take(&mut self.dead_letters) {
            acts.under_way.get_mut(&id).unwrap().0 -= 1;
            acts.killed.insert(id);
        }
    }
}

impl World {
    fn queue(&self) -> DeadLetterQueue {
        let (_, retrier) = self.retrier(role::Role::DlqHandler);
        DeadLetterQueue {
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

    fn index(&self, len: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let index = (self.entropy.share() * len as f64) as usize;
        index.min(len.saturating_sub(1))
    }

    /// A person at a operator, until told to go home.
    pub(super) async fn sit(&self, stop: CancellationToken) {
        let queue = self.queue();
        while !stop.is_cancelled() {
            let wait = Duration::from_millis(10 + self.index(60) as u64);
            tokio::time::sleep(wait).await;
            // A command that meets an outage while it reads is typed again, or not.
            if let Err(error) = self.command(&queue).await {
                let outage = matches!(&error, RoleError::Store(error) if error.is_outage());
                assert!(outage, "seed {}: {error}", self.seed);
            }
        }
    }

    async fn command(&self, queue: &DeadLetterQueue) -> Result<(), RoleError> {
        let unfinished: Vec<BulkOperation> = self
            .store
            .all_operations()
            .into_iter()
            .filter(|run| run.state != OperationStatus::Finished && run.kind != OperationKind::Correct)
            .collect();
        if !unfinished.is_empty() && self.entropy.share() < 0.3 {
            let run = unfinished[self.index(unfinished.len())].clone();
            self.told.0.lock().unwrap().resumed += 1;
            return self.work(queue, run, StartMode::Resumed).await;
        }
        let records = self.store.records();
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
        let run = queue.begin(plan, Some("because".into())).await?;
        self.work(queue, run, StartMode::Fresh).await
    }

    async fn work(
        &self,
        queue: &DeadLetterQueue,
        run: BulkOperation,
        entry: StartMode,
    ) -> Result<(), RoleError> {
        let mut dead_letters = Vec::new();
        for number in 0..run.batches {
            let batch = queue.retrier.read(|| queue.operations.batch(&run.id, number)).await?;
            dead_letters.extend(batch.unwrap().dead_letters.into_iter().map(|(id, _)| id));
        }
        let under_way = self.told.begin(dead_letters.clone());
        let resolver = queue.resolver(&run, policy());
        let stop = CancellationToken::new();
        let hurried = self.entropy.share() < 0.15;
        let done = |dead_letters: u64| {
            if hurried && dead_letters > 0 {
                stop.cancel();
            }
        };
        let rate = (self.entropy.share() < 0.5).then_some(400.0);
        let pace = ExecuteOptions { start: entry, rate, canary: 2, stop: stop.clone(), done: &done };
        let (id, planned, kind) = (run.id.clone(), run.dead_letters, run.kind);
        let ended = queue.execute(run, &resolver, &pace).await;
        let ended = ended.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let finished = ended.operation.state == OperationStatus::Finished;
        assert_eq!(finished, ended.counts.dead_letters() == planned, "seed {}: {ended:?}", self.seed);
        self.told.0.lock().unwrap().stopped += u64::from(!finished);
        // What each dead letter came to is what its line tells: the counts are of all dead letters together.
        let mut outcomes = BTreeMap::new();
        if finished && matches!(kind, OperationKind::Discard | OperationKind::Reopen) {
            for id_of in dead_letters {
                let told = ActualOutcome::recorded(&self.store.lines(&id_of), id.as_str());
                let now = self.store.records().into_iter().find(|record| record.dead_letter.id == id_of);
                let now = now.map(|record| ActualOutcome::from(record.state()));
                if told == now {
                    outcomes.extend(told.map(|told| (id_of, told)));
                }
            }
        }
        under_way.end(&outcomes);
        Ok(())
    }

    /// Corrects a dead letter by one of two bodies: what was typed again after a crash is the same.
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
        let run =
            queue.begin(queue.plan_one(OperationKind::Correct, &plan.record, plan.verdict), None).await?;
        let under_way = self.told.begin([dead_letter.id.clone()]);
        let resolver = queue.resolver(&run, policy());
        let topic = match dead_letter.kind {
            EventKind::Payment => "payments",
            EventKind::Order => "orders",
        };
        let publisher = self.broker.publisher(topic, 4).await.unwrap();
        if queue.correct(&plan, &resolver, publisher.as_ref()).await.is_ok() {
            self.told.0.lock().unwrap().corrected += 1;
        }
        under_way.end(&BTreeMap::new());
        Ok(())
    }
}

fn policy() -> RetryPolicy {
    RetryPolicy {
        backoff: Backoff::try_new(Duration::from_millis(50), Duration::from_secs(2)).unwrap(),
        max_age: Duration::from_secs(1),
        sweep_interval: Duration::from_millis(700),
        retention: Duration::from_secs(86_400),
    }
}

/// What one schedule went through.
#[derive(Clone, Copy, Default, Debug)]
struct Effort {
    crashes: u64,
    late_writes: u64,
    confirmed: u64,
    corrected: u64,
    resumed: u64,
    stopped: u64,
    replays: u64,
    deleted: u64,
}

async fn schedule(seed: u64) -> Effort {
    let world = Arc::new(World::new(seed));
    let plan = ScenarioPlan::try_new(seed, 1..=ORDERS, LETTERED).unwrap();
    let started = world.broker.now_us();
    let manifest = Manifest::new(Streams::Both, EventSource::Scenario(plan), "run".into(), started);
    let mut running: Vec<Running> = STAFF.into_iter().map(|role| start(&world, role)).collect();
    let mut effort = Effort::default();
    let mut deletes: BTreeMap<OrderId, i64> = BTreeMap::new();
    let may_delete = seed.is_multiple_of(5);
    let published = Cell::new(false);
    let producing = async {
        tokio::join!(
            world.publish(&manifest, EventKind::Order, "orders"),
            world.publish(&manifest, EventKind::Payment, "payments"),
        );
        published.set(true);
    };
    let chaos = async {
        while !published.get() || world.broker.now_us() < started + 2_000_000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if world.entropy.share() < 0.2 {
                let index = world.index(running.len());
                let victim = &mut running[index];
                victim.task.abort();
                let killed = (&mut victim.task).await;
                assert!(
                    !killed.is_err_and(|error| error.is_panic()),
                    "seed {seed}: {:?} panicked",
                    victim.role
                );
                effort.crashes += 1;
                *victim = start(&world, victim.role);
            }
            if world.entropy.share() < 0.1 {
                world.broker.replay(["orders", "payments", "dead_letters"][world.index(3)]);
                effort.replays += 1;
            }
            if may_delete && deletes.is_empty() && world.entropy.share() < 0.02 {
                let order = OrderId(1 + world.index(ORDERS as usize) as i64);
                let at = world.broker.now_us();
                world.store.delete_row(order, at);
                deletes.insert(order, at);
                effort.deleted += 1;
            }
        }
    };
    tokio::join!(producing, chaos);
    for queue in running.iter().filter(|running| running.role == Role::Operator) {
        queue.stop.cancel();
    }
    world.broker.heal();
    world.store.heal();
    for queue in running.extract_if(.., |running| running.role == Role::Operator) {
        let left = tokio::time::timeout(Duration::from_secs(120), queue.task).await;
        left.unwrap_or_else(|_| panic!("seed {seed}: a operator does not end")).unwrap();
    }
    let drained = tokio::time::timeout(Duration::from_secs(600), world.broker.drained()).await;
    assert!(drained.is_ok(), "seed {seed}: messages were left: {:?}", *world.broker);
    for role in running {
        role.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(60), role.task).await;
        ended.unwrap_or_else(|_| panic!("seed {seed}: {:?} does not drain", role.role)).unwrap();
    }
    let (_, retrier) = world.retrier(role::Role::DlqHandler);
    let resolver = world.resolver(Clock::anchored(world.broker.now_us()), retrier);
    for _ in 0..2 {
        sweep(&resolver, None).await.unwrap();
    }
    let judge = Judge { seed, rows: world.store.rows(), dead_letters: world.store.records(), deletes };
    judge.units(EventKind::Order, &world.broker.log("orders"));
    judge.units(EventKind::Payment, &world.broker.log("payments"));
    judge.told(&world.told.last());
    judge.runs(&world.store.all_operations());
    judge.corrections(&[world.broker.log("orders"), world.broker.log("payments")].concat());
    if judge.deletes.is_empty() {
        let units = Units::of(std::slice::from_ref(&manifest), ecom_scenario::EventContent::of).unwrap();
        let found =
            verify(&units, world.store.as_ref(), world.store.as_ref() as &dyn DeadLetterStore).await.unwrap();
        assert!(found.is_clean(), "seed {seed}: {found}");
        world.store.check_histories(seed);
    }
    let acts = world.told.0.lock().unwrap();
    Effort {
        late_writes: world.store.late_writes(),
        confirmed: acts.confirmed,
        corrected: acts.corrected,
        resumed: acts.resumed,
        stopped: acts.stopped,
        ..effort
    }
}

fn simulate(seed: u64) -> Effort {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let future: Pin<Box<dyn Future<Output = Effort>>> = Box::pin(schedule(seed));
    runtime.block_on(future)
}

#[test]
fn two_desks_and_two_handlers_keep_the_ledgers_rules_in_any_interleaving() {
    if let Some(seed) = number("ECOM_SEED") {
        println!("{:?}", simulate(seed));
        return;
    }
    let schedules = number("ECOM_SCHEDULES").unwrap_or(40);
    let first = number("ECOM_FIRST").unwrap_or(1);
    let mut sum = Effort::default();
    for seed in first..first + schedules {
        let effort = simulate(seed);
        sum.crashes += effort.crashes;
        sum.late_writes += effort.late_writes;
        sum.confirmed += effort.confirmed;
        sum.corrected += effort.corrected;
        sum.resumed += effort.resumed;
        sum.stopped += effort.stopped;
        sum.replays += effort.replays;
        sum.deleted += effort.deleted;
    }
    println!("{schedules} schedules from seed {first}: {sum:?}");
    let often = [sum.crashes, sum.late_writes, sum.confirmed, sum.corrected, sum.resumed, sum.replays];
    assert!(often.iter().all(|effort| *effort > schedules), "not enough happened: {sum:?}");
    assert!(sum.stopped > schedules / 4 && sum.deleted > schedules / 20, "not enough happened: {sum:?}");
}
