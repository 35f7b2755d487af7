//! The real pipeline over a simulated bus and store: time is tokio's paused clock, randomness is seeded,
//! and everything that goes wrong in the world does. Whatever the interleaving, the facts and the
//! dead letters end the same.
//!
//! `ECOM_SCHEDULES=5000 cargo test simulated` runs more; a failing schedule names its seed, and
//! `ECOM_SEED=… cargo test simulated` runs that one alone.

mod broker;
mod judge;
mod operators;
mod registers;

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ecom_bus::{Bus, Publisher, SubscribeOptions};
use ecom_clock::{Clock, Entropy};
use ecom_domain::attributes::Attributes;
use ecom_domain::backoff::Backoff;
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterId, DeadLetterState, EventKind, HistoryAction, HistoryEntry, StoredBody,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::reason::Reason;
use ecom_domain::role;
use ecom_pipeline::actor::Actor;
use ecom_pipeline::concurrency_limit::ConcurrencyBounds;
use ecom_pipeline::consume::{ConsumerSettings, consume};
use ecom_pipeline::dead_letter_intake::DeadLetterIntake;
use ecom_pipeline::dead_letter_publisher::DeadLetterPublisher;
use ecom_pipeline::dead_letter_resolver::DeadLetterResolver;
use ecom_pipeline::durable::Retrier;
use ecom_pipeline::early_payments::EarlyPaymentSettings;
use ecom_pipeline::handler::Handler;
use ecom_pipeline::order_locks::OrderLocks;
use ecom_pipeline::orders::Orders;
use ecom_pipeline::payments::Payments;
use ecom_pipeline::produce::{OutgoingEvent, ProducerSettings, produce};
use ecom_pipeline::retries;
use ecom_pipeline::retry_policy::RetryPolicy;
use ecom_pipeline::retry_queue::RetryQueue;
use ecom_pipeline::stop_conditions::StopConditions;
use ecom_pipeline::sweep::sweep;
use ecom_scenario::{EventContent, EventSource, Manifest, Mixture, ScenarioPlan, Streams, Units, verify};
use ecom_store::{DeadLetterStore, FactStore};
use ecom_telemetry::metrics::RoleMetrics;
use futures_util::stream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use broker::Broker;
use registers::Registers;

/// The simulated now at the start, microseconds since the epoch.
const EPOCH: i64 = 1_705_831_290_000_000;
/// How far the roles' clocks are apart, microseconds.
const SKEW: i64 = 3_000_000;
/// Everything that can go wrong, often.
const ROUGH: Mixture = Mixture {
    late_orders: 0.3,
    missing_orders: 0.15,
    duplicates: 0.3,
    order_updates: 0.3,
    second_payments: 0.4,
    invalid: 0.15,
    late_by: 12,
};

/// What one schedule went through; a run in which nothing went wrong proves nothing.
#[derive(Clone, Copy, Default, Debug)]
struct Effort {
    crashes: u64,
    redelivered: u64,
    late_writes: u64,
    receipts_lost: u64,
    recovered: u64,
}

struct World {
    seed: u64,
    broker: Broker,
    store: Arc<Registers>,
    entropy: Arc<Entropy>,
    told: operators::Told,
}

/// The roles that run side by side: two of those that settle payments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Orders,
    Payments,
    Handler,
    Operator,
}

const ROLES: [Role; 5] = [Role::Orders, Role::Payments, Role::Payments, Role::Handler, Role::Handler];

impl World {
    fn new(seed: u64) -> Self {
        let clock = Clock::anchored(EPOCH);
        Self {
            seed,
            broker: Broker::new(seed, clock),
            store: Arc::new(Registers::new(seed ^ 0x5eed)),
            entropy: Arc::new(Entropy::seeded(seed ^ 0xc0ffee)),
            told: operators::Told::default(),
        }
    }

    /// A clock that is up to 3 s off, as hosts' clocks are.
    fn skewed(&self) -> Clock {
        #[expect(clippy::cast_possible_truncation, reason = "a few seconds in microseconds")]
        let skew = ((self.entropy.share() * 2.0 - 1.0) * SKEW as f64) as i64;
        Clock::anchored(self.broker.now_us() + skew)
    }

    fn retrier(&self, role: role::Role) -> (Arc<RoleMetrics>, Arc<Retrier>) {
        let metrics = Arc::new(RoleMetrics::new(role));
        (Arc::clone(&metrics), Arc::new(Retrier::new(Arc::clone(&self.entropy), metrics)))
    }

    async fn consume<H: Handler>(
        &self,
        handler: Arc<H>,
        topic: &str,
        hold: bool,
        metrics: Arc<RoleMetrics>,
        stop: CancellationToken,
    ) {
        let options = SubscribeOptions {
            streams: ecom_bus::Streams::Fixed(1),
            max_outstanding: 64,
            buffer: 4,
            ack_deadline: Duration::from_secs(10),
            idle_rotation: None,
        };
        let subscription = self.broker.subscribe(&format!("{topic}-sub"), options).await.unwrap();
        let grace = Duration::from_millis(40);
        let settings = ConsumerSettings {
            subscription: Arc::new(subscription),
            source: format!("{topic}-sub"),
            concurrency: ConcurrencyBounds::new(6, 6),
            early_payments: hold.then_some(EarlyPaymentSettings { grace, limit: 3, bytes: 100_000 }),
            stop_conditions: StopConditions::default(),
            metrics,
            stop,
        };
        consume(handler, settings).await.unwrap();
    }

    async fn dead_letters(
        &self,
        kind: EventKind,
        source: &str,
        clock: Clock,
        metrics: Arc<RoleMetrics>,
    ) -> DeadLetterPublisher {
        let publisher = self.broker.publisher("dead_letters", 64).await.unwrap();
        DeadLetterPublisher { publisher, kind, subscription: source.to_owned(), clock, metrics }
    }

    async fn run(self: Arc<Self>, role: Role, stop: CancellationToken) {
        let clock = self.skewed();
        let facts: Arc<dyn FactStore> = self.store.clone();
        match role {
            Role::Orders => {
                let (metrics, retrier) = self.retrier(role::Role::OrderConsumer);
                let dead_letters =
                    self.dead_letters(EventKind::Order, "orders-sub", clock, metrics.clone()).await;
                let handler = Arc::new(Orders { facts, dead_letters, retrier });
                self.consume(handler, "orders", false, metrics, stop).await;
            }
            Role::Payments => {
                let (metrics, retrier) = self.retrier(role::Role::PaymentConsumer);
                let dead_letters =
                    self.dead_letters(EventKind::Payment, "payments-sub", clock, metrics.clone()).await;
                let handler = Arc::new(Payments { facts, dead_letters, retrier, locks: OrderLocks::new() });
                self.consume(handler, "payments", true, metrics, stop).await;
            }
            Role::Handler => {
                let (metrics, retrier) = self.retrier(role::Role::DlqHandler);
                let (retry_queue, queued) = RetryQueue::channel();
                let resolver = self.resolver(clock, retrier.clone());
                let handler = Arc::new(DeadLetterIntake {
                    dead_letter_store: self.store.clone(),
                    retrier,
                    retry_queue: retry_queue.clone(),
                    actor: actor(),
                });
                let retries_stop = CancellationToken::new();
                let recording = async {
                    self.consume(handler, "dead_letters", false, metrics, stop).await;
                    retries_stop.cancel();
                };
                let (retried, ()) = tokio::join!(
                    retries::run(&resolver, retry_queue, queued, retries_stop.clone()),
                    recording
                );
                retried.unwrap();
            }
            Role::Operator => self.sit(stop).await,
        }
    }

    fn resolver(&self, clock: Clock, retrier: Arc<Retrier>) -> DeadLetterResolver {
        DeadLetterResolver {
            facts: self.store.clone(),
            dead_letter_store: self.store.clone(),
            retrier,
            locks: OrderLocks::new(),
            policy: RetryPolicy {
                backoff: Backoff::try_new(Duration::from_millis(50), Duration::from_secs(2)).unwrap(),
                max_age: Duration::from_secs(1),
                sweep_interval: Duration::from_millis(700),
                retention: Duration::from_secs(86_400),
            },
            clock,
            entropy: Arc::clone(&self.entropy),
            actor: actor(),
            note: None,
        }
    }

    async fn publish(&self, manifest: &Manifest, kind: EventKind, topic: &str) {
        let (metrics, retrier) = self.retrier(role::Role::producer_of(kind));
        let publisher: Arc<dyn Publisher> = self.broker.publisher(topic, 16).await.unwrap();
        let settings = ProducerSettings {
            publisher,
            topic: kind.into(),
            max_outstanding: 16,
            rate: Some(150.0),
            retrier,
            metrics,
            clock: Clock::anchored(self.broker.now_us()),
            entropy: Arc::clone(&self.entropy),
            stop: CancellationToken::new(),
        };
        let events = manifest.events(kind).unwrap();
        let outgoing = events.map(|planned| OutgoingEvent { body: planned.body, event: planned.event });
        produce(&settings, stream::iter(outgoing)).await.unwrap();
    }
}

fn actor() -> Actor {
    Actor { name: "test".into(), host: "simulated".into(), run_id: "run".into() }
}

/// A role that is killed and started again until it is told to drain.
struct Running {
    role: Role,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

fn start(world: &Arc<World>, role: Role) -> Running {
    let stop = CancellationToken::new();
    let task = tokio::spawn(Arc::clone(world).run(role, stop.clone()));
    Running { role, task, stop }
}

async fn schedule(seed: u64) -> Effort {
    let world = Arc::new(World::new(seed));
    let plan = ScenarioPlan::try_new(seed, 1..=24, ROUGH).unwrap();
    let started = world.broker.now_us();
    let manifest = Manifest::new(Streams::Both, EventSource::Scenario(plan), "run".into(), started);
    let crashes = Cell::new(0);
    let mut running: Vec<Running> = ROLES.into_iter().map(|role| start(&world, role)).collect();
    let published = Cell::new(false);
    let producing = async {
        tokio::join!(
            world.publish(&manifest, EventKind::Order, "orders"),
            world.publish(&manifest, EventKind::Payment, "payments"),
        );
        published.set(true);
    };
    let chaos = async {
        while !published.get() || world.broker.now_us() < started + 1_500_000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if world.entropy.share() < 0.15 {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
                let index = (world.entropy.share() * running.len() as f64) as usize;
                let victim = &mut running[index];
                victim.task.abort();
                assert!(
                    victim.stop.is_cancelled()
                        || !matches!((&mut victim.task).await, Err(error) if error.is_panic()),
                    "{:?} panicked, seed {seed}",
                    victim.role
                );
                crashes.set(crashes.get() + 1);
                *victim = start(&world, victim.role);
            }
        }
    };
    tokio::join!(producing, chaos);
    world.broker.heal();
    world.store.heal();
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
    let units = Units::of(std::slice::from_ref(&manifest), EventContent::of).unwrap();
    let found =
        verify(&units, world.store.as_ref(), world.store.as_ref() as &dyn DeadLetterStore).await.unwrap();
    assert!(found.is_clean(), "seed {}: {found}", world.seed);
    world.store.check_histories(seed);
    Effort {
        crashes: crashes.get(),
        redelivered: world.broker.redelivered(),
        late_writes: world.store.late_writes(),
        receipts_lost: world.broker.receipts_lost(),
        recovered: world.store.recovered(),
    }
}

fn simulate(seed: u64) -> Effort {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let future: Pin<Box<dyn Future<Output = Effort>>> = Box::pin(schedule(seed));
    runtime.block_on(future)
}

#[test]
fn any_interleaving_with_crashes_and_faults_ends_in_the_same_facts_and_dead_letters() {
    if let Some(seed) = number("ECOM_SEED") {
        println!("{:?}", simulate(seed));
        return;
    }
    let schedules = number("ECOM_SCHEDULES").unwrap_or(60);
    let mut sum = Effort::default();
    for seed in 1..=schedules {
        let effort = simulate(seed);
        sum.crashes += effort.crashes;
        sum.redelivered += effort.redelivered;
        sum.late_writes += effort.late_writes;
        sum.receipts_lost += effort.receipts_lost;
        sum.recovered += effort.recovered;
    }
    println!("{schedules} schedules: {sum:?}");
    let efforts = [sum.crashes, sum.redelivered, sum.late_writes, sum.receipts_lost, sum.recovered];
    assert!(efforts.iter().all(|effort| *effort > schedules), "nothing went wrong enough: {sum:?}");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_dead_letter_past_its_age_is_settled_by_the_pass_and_a_younger_one_by_the_schedule() {
    let world = World::new(1);
    world.store.heal();
    let now = world.broker.now_us();
    let (_, retrier) = world.retrier(role::Role::DlqHandler);
    let resolver = world.resolver(Clock::anchored(now), retrier);
    let mut ids = Vec::new();
    for (n, age) in [(1, Duration::from_millis(900)), (2, Duration::from_millis(1_100))] {
        let body = Bytes::from(format!(
            "{{\"payment_id\":{n},\"order_id\":{n},\"payment_method\":\"PayPal\",\
             \"payment_status\":\"Completed\",\"payment_datetime\":\"yesterday\"}}"
        ));
        let t = EventTime::stored(now - n);
        let id = DeadLetterId::of(EventKind::Payment, t, &body);
        ids.push(id.clone());
        let dead_letter = DeadLetter {
            id,
            kind: EventKind::Payment,
            t,
            body: StoredBody::keep(&body),
            attributes: Attributes::new(),
            reason: Reason::OrderNotFound,
            detail: String::new(),
            order_id: None,
            payment_id: None,
            first_failed_at: now - i64::try_from(age.as_micros()).unwrap(),
            corrects: None,
        };
        let entry = HistoryEntry {
            at: now,
            entry_id: "received".into(),
            action: HistoryAction::Received,
            outcome: String::new(),
            actor: "test".into(),
            host: "simulated".into(),
            note: None,
            run_id: None,
            operation_outcome: None,
            correction: None,
            corrected_by: None,
        };
        world.store.record(&dead_letter, &entry).await.unwrap();
    }
    let (retry_queue, mut queued) = RetryQueue::channel();

    sweep(&resolver, Some(retry_queue)).await.unwrap();

    let mut states = Vec::new();
    for id in &ids {
        states.push(world.store.dead_letter(id).await.unwrap().unwrap().state());
    }
    assert_eq!(states, [DeadLetterState::Waiting, DeadLetterState::Parked]);
    assert_eq!(queued.recv().await.map(|queued| queued.id), Some(ids[0].clone()));
    assert_eq!(queued.recv().await, None);
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
