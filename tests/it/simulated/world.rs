//! The world of a schedule: the roles on a simulated bus and store, their clocks, and the scenario.

use std::sync::Arc;
use std::time::Duration;

use ecom_bus::{Bus, Publisher, SubscribeOptions};
use ecom_clock::{Clock, Entropy};
use ecom_domain::backoff::Backoff;
use ecom_domain::dead_letter::EventKind;
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
use ecom_pipeline::sweep::{WaitingDeadLetters, sweep};
use ecom_scenario::{EventContent, EventSource, Manifest, Mixture, ScenarioPlan, Streams, Units, verify};
use ecom_store::FactStore;
use ecom_store::memory::Tables;
use ecom_telemetry::metrics::RoleMetrics;
use futures_util::stream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::broker::Broker;
use super::operators::CommandLog;
use super::store::{SimulatedStore, Timeouts, check_histories};

/// The simulated time at the start, in microseconds since the epoch.
const EPOCH: i64 = 1_705_831_290_000_000;
/// The largest clock skew of a role, in microseconds.
const SKEW: i64 = 3_000_000;

pub struct World {
    pub seed: u64,
    pub broker: Broker,
    pub store: Arc<SimulatedStore>,
    pub entropy: Arc<Entropy>,
    pub commands: CommandLog,
}

/// A role of a schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Orders,
    Payments,
    Handler,
    Operator,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let clock = Clock::anchored(EPOCH);
        Self {
            seed,
            broker: Broker::new(seed, clock),
            store: Arc::new(SimulatedStore::new(Timeouts::new(seed ^ 0x5eed), Tables::default())),
            entropy: Arc::new(Entropy::seeded(seed ^ 0xc0ffee)),
            commands: CommandLog::default(),
        }
    }

    /// A clock with a random skew.
    pub fn skewed(&self) -> Clock {
        #[expect(clippy::cast_possible_truncation, reason = "a few seconds in microseconds")]
        let skew = ((self.entropy.share() * 2.0 - 1.0) * SKEW as f64) as i64;
        Clock::anchored(self.broker.now_us() + skew)
    }

    pub fn retrier(&self, role: role::Role) -> (Arc<RoleMetrics>, Arc<Retrier>) {
        let metrics = Arc::new(RoleMetrics::new(role));
        (Arc::clone(&metrics), Arc::new(Retrier::new(Arc::clone(&self.entropy), metrics)))
    }

    async fn consume<H: Handler>(
        &self,
        handler: Arc<H>,
        topic: &str,
        early_payments: Option<EarlyPaymentSettings>,
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
        let settings = ConsumerSettings {
            subscription: Arc::new(subscription),
            source: format!("{topic}-sub"),
            concurrency: ConcurrencyBounds::new(6, 6),
            early_payments,
            stop_conditions: StopConditions::default(),
            metrics,
            stop,
        };
        consume(handler, settings).await.unwrap();
    }

    async fn dead_letter_publisher(
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
                    self.dead_letter_publisher(EventKind::Order, "orders-sub", clock, metrics.clone()).await;
                let handler = Arc::new(Orders { facts, dead_letters, retrier });
                self.consume(handler, "orders", None, metrics, stop).await;
            }
            Role::Payments => {
                let (metrics, retrier) = self.retrier(role::Role::PaymentConsumer);
                let dead_letters = self
                    .dead_letter_publisher(EventKind::Payment, "payments-sub", clock, metrics.clone())
                    .await;
                let handler = Arc::new(Payments { facts, dead_letters, retrier, locks: OrderLocks::new() });
                let grace = Duration::from_millis(40);
                let early_payments = EarlyPaymentSettings { grace, limit: 3, bytes: 100_000 };
                self.consume(handler, "payments", Some(early_payments), metrics, stop).await;
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
                    self.consume(handler, "dead_letters", None, metrics, stop).await;
                    retries_stop.cancel();
                };
                let (retried, ()) = tokio::join!(
                    retries::run(&resolver, retry_queue, queued, retries_stop.clone()),
                    recording
                );
                retried.unwrap();
            }
            Role::Operator => self.operate(stop).await,
        }
    }

    pub fn resolver(&self, clock: Clock, retrier: Arc<Retrier>) -> DeadLetterResolver {
        DeadLetterResolver {
            facts: self.store.clone(),
            dead_letter_store: self.store.clone(),
            retrier,
            locks: OrderLocks::new(),
            policy: policy(),
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
            acknowledged_to: Arc::default(),
        };
        let events = manifest.events(kind).unwrap();
        let outgoing = events.map(|planned| OutgoingEvent { body: planned.body, event: planned.event });
        produce(&settings, stream::iter(outgoing)).await.unwrap();
    }

    /// Publishes all orders and payments of a scenario.
    pub async fn publish_all(&self, manifest: &Manifest) {
        tokio::join!(
            self.publish(manifest, EventKind::Order, "orders"),
            self.publish(manifest, EventKind::Payment, "payments"),
        );
    }

    /// A random index of a list of this length.
    pub fn index(&self, len: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let index = (self.entropy.share() * len as f64) as usize;
        index.min(len.saturating_sub(1))
    }

    /// Ends all faults, and applies the writes that were to be applied later.
    pub fn heal(&self) {
        self.broker.heal();
        for write in self.store.interceptor.heal() {
            write(&mut self.store.tables());
        }
    }

    /// Waits until every message is acked, drains the roles, and sweeps the dead-letter store.
    pub async fn drain(&self, running: Vec<RunningRole>) {
        let seed = self.seed;
        let drained = tokio::time::timeout(Duration::from_secs(600), self.broker.drained()).await;
        assert!(drained.is_ok(), "seed {seed}: messages were left: {:?}", *self.broker);
        for role in running {
            role.stop.cancel();
            let ended = tokio::time::timeout(Duration::from_secs(60), role.task).await;
            ended.unwrap_or_else(|_| panic!("seed {seed}: {:?} does not drain", role.role)).unwrap();
        }
        let (_, retrier) = self.retrier(role::Role::DlqHandler);
        let resolver = self.resolver(Clock::anchored(self.broker.now_us()), retrier);
        for _ in 0..2 {
            sweep(&resolver, WaitingDeadLetters::AreAttempted).await.unwrap();
        }
    }

    /// Asserts that rows, dead letters and histories are those of the scenario.
    pub async fn assert_clean(&self, manifest: &Manifest) {
        let seed = self.seed;
        let units = Units::of(std::slice::from_ref(manifest), EventContent::of).unwrap();
        let found = verify(&units, &*self.store, &*self.store).await.unwrap();
        assert!(found.is_clean(), "seed {seed}: {found}");
        check_histories(&self.store.tables(), seed);
    }
}

pub fn actor() -> Actor {
    Actor { name: "test".into(), host: "simulated".into(), run_id: "run".into() }
}

pub fn policy() -> RetryPolicy {
    RetryPolicy {
        backoff: Backoff::try_new(Duration::from_millis(50), Duration::from_secs(2)).unwrap(),
        max_age: Duration::from_secs(1),
        sweep_interval: Duration::from_millis(700),
        retention: Duration::from_secs(86_400),
    }
}

/// A new world, and the scenario to publish in it.
pub fn new_world(seed: u64, orders: i64, mixture: Mixture) -> (Arc<World>, Manifest) {
    let world = Arc::new(World::new(seed));
    let plan = ScenarioPlan::try_new(seed, 1..=orders, mixture).unwrap();
    let started = world.broker.now_us();
    let manifest = Manifest::new(Streams::Both, EventSource::Scenario(plan), "run".into(), started);
    (world, manifest)
}

/// A role that is killed and started again until it is drained.
pub struct RunningRole {
    pub role: Role,
    pub task: JoinHandle<()>,
    pub stop: CancellationToken,
}

pub fn start(world: &Arc<World>, role: Role) -> RunningRole {
    let stop = CancellationToken::new();
    let task = tokio::spawn(Arc::clone(world).run(role, stop.clone()));
    RunningRole { role, task, stop }
}

/// Kills a random role and starts it again.
pub async fn kill_one(world: &Arc<World>, running: &mut [RunningRole]) {
    let victim = &mut running[world.index(running.len())];
    victim.task.abort();
    let killed = (&mut victim.task).await;
    assert!(!killed.is_err_and(|error| error.is_panic()), "seed {}: {:?} panicked", world.seed, victim.role);
    *victim = start(world, victim.role);
}
