//! Two desks and two handlers at once, clocks up to 3 s apart: whatever people retry, discard, reopen
//! and correct while everything goes wrong that can, the rules of the ledger hold.
//!
//! `ECOM_SCHEDULES=1000 ECOM_FIRST=2000 cargo test two_desks` runs seeds 2000 to 2999, and
//! `ECOM_SEED=… cargo test two_desks` one alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use ecom_dlq::Desk;
use ecom_dlq::plan::Purpose;
use ecom_dlq::run::{Entry, Pace};
use ecom_dlq::selection::Selection;
use ecom_domain::letter::{LetterId, LetterRecord};
use ecom_domain::order::OrderId;
use ecom_domain::outcome::Outcome;
use ecom_domain::run::{Deed, Run, RunState};
use ecom_pipeline::durable::Halt;

use super::judge::Judge;
use super::*;

/// The roles, and how many of each.
const STAFF: [Role; 7] =
    [Role::Orders, Role::Payments, Role::Payments, Role::Handler, Role::Handler, Role::Desk, Role::Desk];
/// Many letters: what comes late comes very late.
const LETTERED: Mixture = Mixture { late_orders: 0.4, missing_orders: 0.2, invalid: 0.3, ..ROUGH };
const ORDERS: i64 = 16;

/// What people were told, and did at the same time; shared by all desks of a schedule.
#[derive(Default)]
pub struct Told(Mutex<Acts>);

#[derive(Default)]
struct Acts {
    /// Acts on a letter under way, and how many there ever were.
    under_way: BTreeMap<LetterId, (u32, u32)>,
    /// Letters on which an act was killed: nobody was told what came of it.
    killed: BTreeSet<LetterId>,
    /// What the last act on a letter told, when no other was under way.
    told: BTreeMap<LetterId, Outcome>,
    /// Finished acts that were told so.
    confirmed: u64,
    corrected: u64,
    resumed: u64,
    stopped: u64,
}

/// An act on letters under way; dropped before its end it was killed.
struct UnderWay<'t> {
    told: &'t Told,
    letters: Vec<(LetterId, u32)>,
}

impl Told {
    fn begin<'t>(&'t self, letters: impl IntoIterator<Item = LetterId>) -> UnderWay<'t> {
        let mut acts = self.0.lock().unwrap();
        let begin = |id: LetterId| {
            acts.told.remove(&id);
            let (now, ever) = acts.under_way.entry(id.clone()).or_default();
            (*now, *ever) = (*now + 1, *ever + 1);
            (id, *ever)
        };
        let letters = letters.into_iter().map(begin).collect();
        UnderWay { told: self, letters }
    }

    /// What each letter's last act told, where nothing else happened to it.
    pub fn last(&self) -> BTreeMap<LetterId, Outcome> {
        self.0.lock().unwrap().told.clone()
    }
}

impl UnderWay<'_> {
    /// The act came to its end and told these outcomes.
    fn end(mut self, outcomes: &BTreeMap<LetterId, Outcome>) {
        let mut acts = self.told.0.lock().unwrap();
        for (id, number) in std::mem::take(&mut self.letters) {
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
        for (id, _) in std::mem::take(&mut self.letters) {
            acts.under_way.get_mut(&id).unwrap().0 -= 1;
            acts.killed.insert(id);
        }
    }
}

impl World {
    fn desk(&self) -> Desk {
        let (_, retrying) = self.retrying("desk");
        Desk {
            facts: self.store.clone(),
            ledger: self.store.clone(),
            journal: self.store.clone(),
            retrying,
            clock: self.skewed(),
            chance: Arc::clone(&self.chance),
            actor: actor(),
            window: 3,
        }
    }

    fn index(&self, len: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let index = (self.chance.share() * len as f64) as usize;
        index.min(len.saturating_sub(1))
    }

    /// A person at a desk, until told to go home.
    pub(super) async fn sit(&self, stop: CancellationToken) {
        let desk = self.desk();
        while !stop.is_cancelled() {
            let wait = Duration::from_millis(10 + self.index(60) as u64);
            tokio::time::sleep(wait).await;
            // A command that meets an outage while it reads is typed again, or not.
            if let Err(error) = self.command(&desk).await {
                let outage = matches!(&error, Halt::Store(error) if error.is_outage());
                assert!(outage, "seed {}: {error}", self.seed);
            }
        }
    }

    async fn command(&self, desk: &Desk) -> Result<(), Halt> {
        let unfinished: Vec<Run> = self
            .store
            .all_runs()
            .into_iter()
            .filter(|run| run.state != RunState::Finished && run.deed != Deed::Correct)
            .collect();
        if !unfinished.is_empty() && self.chance.share() < 0.3 {
            let run = unfinished[self.index(unfinished.len())].clone();
            self.told.0.lock().unwrap().resumed += 1;
            return self.work(desk, run, Entry::Resumed).await;
        }
        let records = self.store.records();
        if records.is_empty() {
            return Ok(());
        }
        let share = self.chance.share();
        let deed = match share {
            _ if share < 0.3 => Deed::Retry,
            _ if share < 0.55 => Deed::Discard,
            _ if share < 0.8 => Deed::Reopen,
            _ => {
                let record = &records[self.index(records.len())];
                return self.correct(desk, record).await;
            }
        };
        let mut selection = Selection::default();
        if deed != Deed::Retry || self.chance.share() < 0.5 {
            let some = 1 + self.index(3);
            selection.ids = (0..some).map(|_| records[self.index(records.len())].letter.id.clone()).collect();
        }
        let plan = desk.plan(deed, selection, Purpose::Begin, &|_| {}).await?;
        if plan.letters == 0 || self.chance.share() < 0.05 {
            return Ok(());
        }
        let run = desk.begin(plan, Some("because".into())).await?;
        self.work(desk, run, Entry::Fresh).await
    }

    async fn work(&self, desk: &Desk, run: Run, entry: Entry) -> Result<(), Halt> {
        let mut letters = Vec::new();
        for number in 0..run.batches {
            let batch = desk.retrying.read(|| desk.journal.batch(&run.id, number)).await?;
            letters.extend(batch.unwrap().letters.into_iter().map(|(id, _)| id));
        }
        let under_way = self.told.begin(letters.clone());
        let settler = desk.settler(&run, policy());
        let stop = CancellationToken::new();
        let hurried = self.chance.share() < 0.15;
        let done = |letters: u64| {
            if hurried && letters > 0 {
                stop.cancel();
            }
        };
        let rate = (self.chance.share() < 0.5).then_some(400.0);
        let pace = Pace { entry, rate, canary: 2, stop: stop.clone(), done: &done };
        let (id, planned, deed) = (run.id.clone(), run.letters, run.deed);
        let ended = desk.work(run, &settler, &pace).await;
        let ended = ended.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let finished = ended.run.state == RunState::Finished;
        assert_eq!(finished, ended.tally.letters() == planned, "seed {}: {ended:?}", self.seed);
        self.told.0.lock().unwrap().stopped += u64::from(!finished);
        // What each letter came to is what its line tells: the counts are of all letters together.
        let mut outcomes = BTreeMap::new();
        if finished && matches!(deed, Deed::Discard | Deed::Reopen) {
            for id_of in letters {
                let told = Outcome::told(&self.store.lines(&id_of), id.as_str());
                let now = self.store.records().into_iter().find(|record| record.letter.id == id_of);
                let now = now.map(|record| Outcome::from(record.state()));
                if told == now {
                    outcomes.extend(told.map(|told| (id_of, told)));
                }
            }
        }
        under_way.end(&outcomes);
        Ok(())
    }

    /// Corrects a letter by one of two bodies: what was typed again after a crash is the same.
    async fn correct(&self, desk: &Desk, record: &LetterRecord) -> Result<(), Halt> {
        let letter = &record.letter;
        let which = self.index(2) as i64;
        let order = letter.order_id.map_or_else(|| 1 + letter.t.micros() % ORDERS, |order| order.0);
        let body = match letter.kind {
            Kind::Payment => format!(
                r#"{{"payment_id":{},"order_id":{order},"payment_method":"PayPal","payment_status":"Completed","payment_datetime":"corrected {which}"}}"#,
                letter.t.micros() % 1_000_000 + 1,
            ),
            Kind::Order => format!(
                r#"{{"order_id":{order},"customer_id":{},"item":"corrected {which}","quantity":1,"price":1.5,"shipping_address":"x","order_status":"Pending","creation_date":"2024"}}"#,
                letter.t.micros() % 1_000 + 1,
            ),
        };
        let Ok(proposal) = desk.propose(&letter.id, body.into()).await else { return Ok(()) };
        let run = desk.begin(desk.plan_for(Deed::Correct, &proposal.record, proposal.verdict), None).await?;
        let under_way = self.told.begin([letter.id.clone()]);
        let settler = desk.settler(&run, policy());
        let topic = match letter.kind {
            Kind::Payment => "payments",
            Kind::Order => "orders",
        };
        let publisher = self.broker.publisher(topic, 4).await.unwrap();
        if desk.correct(&proposal, &settler, publisher.as_ref()).await.is_ok() {
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
    let plan = Plan::try_new(seed, 1..=ORDERS, LETTERED).unwrap();
    let started = world.broker.now_us();
    let manifest = Manifest::new(Streams::Both, Source::Scenario(plan), "run".into(), started);
    let mut running: Vec<Running> = STAFF.into_iter().map(|role| start(&world, role)).collect();
    let mut effort = Effort::default();
    let mut deletes: BTreeMap<OrderId, i64> = BTreeMap::new();
    let may_delete = seed.is_multiple_of(5);
    let published = Cell::new(false);
    let producing = async {
        tokio::join!(
            world.publish(&manifest, Kind::Order, "orders"),
            world.publish(&manifest, Kind::Payment, "payments"),
        );
        published.set(true);
    };
    let chaos = async {
        while !published.get() || world.broker.now_us() < started + 2_000_000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if world.chance.share() < 0.2 {
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
            if world.chance.share() < 0.1 {
                world.broker.replay(["orders", "payments", "dead_letters"][world.index(3)]);
                effort.replays += 1;
            }
            if may_delete && deletes.is_empty() && world.chance.share() < 0.02 {
                let order = OrderId(1 + world.index(ORDERS as usize) as i64);
                let at = world.broker.now_us();
                world.store.delete_row(order, at);
                deletes.insert(order, at);
                effort.deleted += 1;
            }
        }
    };
    tokio::join!(producing, chaos);
    for desk in running.iter().filter(|running| running.role == Role::Desk) {
        desk.stop.cancel();
    }
    world.broker.heal();
    world.store.heal();
    for desk in running.extract_if(.., |running| running.role == Role::Desk) {
        let left = tokio::time::timeout(Duration::from_secs(120), desk.task).await;
        left.unwrap_or_else(|_| panic!("seed {seed}: a desk does not end")).unwrap();
    }
    let drained = tokio::time::timeout(Duration::from_secs(600), world.broker.drained()).await;
    assert!(drained.is_ok(), "seed {seed}: messages were left: {:?}", *world.broker);
    for role in running {
        role.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(60), role.task).await;
        ended.unwrap_or_else(|_| panic!("seed {seed}: {:?} does not drain", role.role)).unwrap();
    }
    let (_, retrying) = world.retrying("sweep");
    let settler = world.settler(Clock::anchored(world.broker.now_us()), retrying);
    for _ in 0..2 {
        sweep(&settler, None).await.unwrap();
    }
    let judge = Judge { seed, rows: world.store.rows(), letters: world.store.records(), deletes };
    judge.units(Kind::Order, &world.broker.log("orders"));
    judge.units(Kind::Payment, &world.broker.log("payments"));
    judge.told(&world.told.last());
    judge.runs(&world.store.all_runs());
    judge.corrections(&[world.broker.log("orders"), world.broker.log("payments")].concat());
    if judge.deletes.is_empty() {
        let units = Units::of(std::slice::from_ref(&manifest), ecom_scenario::Content::of).unwrap();
        let found = verify(&units, world.store.as_ref(), world.store.as_ref() as &dyn Ledger).await.unwrap();
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
