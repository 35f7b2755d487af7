//! The world of a schedule: the roles on a simulated bus and store, their clocks, and the scenario.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecom_bus::{Bus, Publisher, SubscribeOptions};
use ecom_clock::{Clock, Entropy};
use ecom_domain::dead_letter::{DeadLetter, DeadLetterId, DeadLetterRecord, DeadLetterState, EventKind};
use ecom_domain::reason::Reason;
use ecom_domain::role;
use ecom_pipeline::actor::Actor;
use ecom_pipeline::concurrency_limit::ConcurrencyBounds;
use ecom_pipeline::consume::{ConsumerSettings, consume};
use ecom_pipeline::dead_letter_intake::DeadLetterIntake;
use ecom_pipeline::dead_letter_publisher::DeadLetterPublisher;
use ecom_pipeline::dead_letter_resolver::DeadLetterResolver;
use ecom_pipeline::durable::{Retrier, RoleError};
use ecom_pipeline::early_payments::EarlyPaymentSettings;
use ecom_pipeline::handler::Handler;
use ecom_pipeline::order_locks::OrderLocks;
use ecom_pipeline::orders::Orders;
use ecom_pipeline::payments::Payments;
use ecom_pipeline::produce::{OutgoingEvent, ProducerSettings, produce};
use ecom_pipeline::retries;
use ecom_pipeline::retry_queue::RetryQueue;
use ecom_pipeline::stop_conditions::StopConditions;
use ecom_pipeline::sweep::{WaitingDeadLetters, sweep};
use ecom_scenario::{EventContent, EventSource, Manifest, ScenarioPlan, Streams, Units, verify};
use ecom_store::memory::{Interceptor, MemoryStore, Tables};
use ecom_telemetry::metrics::RoleMetrics;
use futures_util::stream;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, RoleBus};
use crate::conditions::Conditions;
use crate::faults::{FaultRates, Injector, SharedFaults};
use crate::operators::CommandLog;
use crate::oracle;
use crate::store::{LateWrites, RoleStore, StoreFaults, UnreadablePart, check_histories};

/// The simulated time at the start, in microseconds since the epoch.
const EPOCH: i64 = 1_705_831_290_000_000;
/// A second, in microseconds.
const SECOND: i64 = 1_000_000;
/// The most that a world may take to finish its work after its faults have ended.
const FINISH: Duration = Duration::from_secs(120);

/// All that the roles share.
pub struct World {
    /// The seed of everything random.
    pub seed: u64,
    /// What is published, which roles run, and which faults they meet.
    pub conditions: Conditions,
    /// The bus.
    pub broker: Arc<Broker>,
    /// The tables, without faults.
    pub store: Arc<MemoryStore>,
    /// Writes that are applied later.
    pub late: LateWrites,
    /// The part of the dead-letter store that scans cannot read.
    pub unreadable: UnreadablePart,
    /// The faults of all roles.
    pub faults: SharedFaults,
    /// The random source of the roles.
    pub entropy: Arc<Entropy>,
    /// The commands of the operators.
    pub commands: CommandLog,
    injectors: AtomicU64,
}

/// A role of a schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The order consumer.
    Orders,
    /// The payment consumer.
    Payments,
    /// The dead-letter handler.
    Handler,
    /// A person who types commands.
    Operator,
}

/// One process of a role: what it reaches the bus and the store with.
pub struct Process {
    /// Decides the faults.
    pub injector: Arc<Injector>,
    /// The bus.
    pub bus: RoleBus,
    /// The store.
    pub store: Arc<RoleStore>,
}

impl World {
    /// Returns a world in which nothing has happened.
    pub fn new(seed: u64, conditions: Conditions) -> Arc<Self> {
        let clock = Clock::anchored(EPOCH);
        let store = Arc::new(MemoryStore::new((), Tables::default()));
        let tables = Arc::clone(&store);
        let removes = conditions.removes();
        let check = move |broker: &Broker, topic: &str, received: &_| {
            oracle::effect_is_there(removes, &tables.tables(), broker, topic, received)
        };
        Arc::new(Self {
            seed,
            conditions,
            broker: Broker::new(seed, clock, conditions.lease_ends_early, Box::new(check)),
            store,
            late: LateWrites::default(),
            unreadable: UnreadablePart::default(),
            faults: SharedFaults::default(),
            entropy: Arc::new(Entropy::seeded(seed ^ 0xc0ffee)),
            commands: CommandLog::default(),
            injectors: AtomicU64::new(0),
        })
    }

    /// Returns an injector with these rates, and a seed of its own.
    pub fn injector(&self, role: &str, rates: FaultRates) -> Arc<Injector> {
        let number = self.injectors.fetch_add(1, Ordering::Relaxed);
        let seed = self.seed.wrapping_mul(31) + number;
        Arc::new(Injector::random(format!("{role} {number}"), seed, rates, &self.faults))
    }

    /// Returns a process that meets the faults of `injector`.
    pub fn process(&self, injector: &Arc<Injector>, stop: &CancellationToken) -> Process {
        let faults = StoreFaults {
            injector: Arc::clone(injector),
            late: self.late.clone(),
            unreadable: Arc::clone(&self.unreadable),
        };
        Process {
            injector: Arc::clone(injector),
            bus: RoleBus {
                broker: Arc::clone(&self.broker),
                injector: Arc::clone(injector),
                stop: stop.clone(),
            },
            store: Arc::new(self.store.sharing(faults)),
        }
    }

    /// Returns a clock with a random skew.
    pub fn skewed(&self) -> Clock {
        Clock::anchored(self.broker.now_us() + self.skew(self.conditions.skew))
    }

    #[expect(clippy::cast_possible_truncation, reason = "an hour in microseconds")]
    fn skew(&self, most: i64) -> i64 {
        ((self.entropy.share() * 2.0 - 1.0) * most as f64) as i64
    }

    /// Returns the clock of a producer. One that is fast keeps its order only while its lead stays between two
    /// multiples of 10 s plus 5 s, so this one does not come close to one.
    fn producer_clock(&self) -> Clock {
        let now_us = self.broker.now_us();
        let ahead = self.skew(self.conditions.producer_skew);
        let within = (ahead - 5 * SECOND).rem_euclid(10 * SECOND);
        let ahead =
            if ahead > 4 * SECOND { ahead - within + within.clamp(2 * SECOND, 8 * SECOND) } else { ahead };
        Clock::anchored(now_us + ahead)
    }

    /// Returns the metrics and the retrier of a role.
    pub fn retrier(&self, role: role::Role) -> (Arc<RoleMetrics>, Arc<Retrier>) {
        let metrics = Arc::new(RoleMetrics::new(role));
        (Arc::clone(&metrics), Arc::new(Retrier::new(Arc::clone(&self.entropy), metrics)))
    }

    async fn consume<H: Handler>(
        &self,
        process: &Process,
        handler: Arc<H>,
        topic: &str,
        early_payments: Option<EarlyPaymentSettings>,
        metrics: Arc<RoleMetrics>,
    ) -> Result<(), RoleError> {
        let options = SubscribeOptions {
            streams: ecom_bus::Streams::Fixed(1),
            max_outstanding: 64,
            buffer: 4,
            ack_deadline: Duration::from_secs(10),
            idle_rotation: None,
        };
        let subscription = process.bus.subscribe(&format!("{topic}-sub"), options).await;
        let settings = ConsumerSettings {
            subscription: Arc::new(subscription.expect("a simulated topic can be received from")),
            source: format!("{topic}-sub"),
            concurrency: ConcurrencyBounds::new(4, 4),
            early_payments,
            stop_conditions: StopConditions::default(),
            metrics: Arc::clone(&metrics),
            stop: process.bus.stop.clone(),
        };
        consume(handler, settings).await?;
        let in_flight = metrics.in_flight.get();
        if in_flight != 0 {
            self.broker.violation(format!("{topic}: stopped with {in_flight} in flight"));
        }
        Ok(())
    }

    async fn dead_letter_publisher(
        &self,
        process: &Process,
        kind: EventKind,
        source: &str,
        metrics: &Arc<RoleMetrics>,
    ) -> DeadLetterPublisher {
        let publisher = process.bus.publisher("dead_letters", 64).await;
        DeadLetterPublisher {
            publisher: publisher.expect("a simulated topic can be published to"),
            kind,
            subscription: source.to_owned(),
            clock: self.skewed(),
            metrics: Arc::clone(metrics),
        }
    }

    /// Runs one process of a role until it is stopped.
    ///
    /// # Errors
    /// The store refused a statement.
    pub async fn run(self: Arc<Self>, role: Role, process: Process) -> Result<(), RoleError> {
        match role {
            Role::Orders => {
                let (metrics, retrier) = self.retrier(role::Role::OrderConsumer);
                let dead_letters =
                    self.dead_letter_publisher(&process, EventKind::Order, "orders-sub", &metrics).await;
                let handler = Arc::new(Orders { facts: process.store.clone(), dead_letters, retrier });
                self.consume(&process, handler, "orders", None, metrics).await
            }
            Role::Payments => {
                let (metrics, retrier) = self.retrier(role::Role::PaymentConsumer);
                let dead_letters =
                    self.dead_letter_publisher(&process, EventKind::Payment, "payments-sub", &metrics).await;
                let facts = process.store.clone();
                let handler = Arc::new(Payments { facts, dead_letters, retrier, locks: OrderLocks::new() });
                let early_payments = Some(self.conditions.early_payments);
                self.consume(&process, handler, "payments", early_payments, metrics).await
            }
            Role::Handler => self.handle_dead_letters(&process).await,
            Role::Operator => self.operate(&process).await,
        }
    }

    async fn handle_dead_letters(&self, process: &Process) -> Result<(), RoleError> {
        let (metrics, retrier) = self.retrier(role::Role::DlqHandler);
        let (retry_queue, queued) = RetryQueue::channel();
        let resolver = self.resolver(&process.store, self.skewed(), Arc::clone(&retrier));
        let handler = Arc::new(DeadLetterIntake {
            dead_letter_store: process.store.clone(),
            retrier,
            retry_queue: retry_queue.clone(),
            actor: actor(),
        });
        let retries_stop = CancellationToken::new();
        let recording = async {
            let recorded = self.consume(process, handler, "dead_letters", None, metrics).await;
            retries_stop.cancel();
            recorded
        };
        let retrying = retries::run(&resolver, retry_queue, queued, retries_stop.clone());
        tokio::try_join!(retrying, recording).map(drop)
    }

    /// Returns a resolver of dead letters in this store.
    pub fn resolver<I: Interceptor + 'static>(
        &self,
        store: &Arc<MemoryStore<I>>,
        clock: Clock,
        retrier: Arc<Retrier>,
    ) -> DeadLetterResolver {
        DeadLetterResolver {
            facts: store.clone(),
            dead_letter_store: store.clone(),
            retrier,
            locks: OrderLocks::new(),
            policy: self.conditions.policy,
            clock,
            entropy: Arc::clone(&self.entropy),
            actor: actor(),
            note: None,
        }
    }

    async fn publish(&self, manifest: &Manifest, kind: EventKind, topic: &str) {
        let (metrics, retrier) = self.retrier(role::Role::producer_of(kind));
        // A producer that is killed has not published its manifest.
        let rates = FaultRates { killed: 0.0, frozen: 0.0, refused: 0.0, ..self.conditions.rates };
        let process = self.process(&self.injector("producer", rates), &CancellationToken::new());
        let publisher = process.bus.publisher(topic, 16).await;
        let publisher: Arc<dyn Publisher> = publisher.expect("a simulated topic can be published to");
        let settings = ProducerSettings {
            publisher,
            topic: kind.into(),
            max_outstanding: 16,
            rate: Some(150.0),
            retrier,
            metrics,
            clock: self.producer_clock(),
            entropy: Arc::clone(&self.entropy),
            stop: CancellationToken::new(),
            acknowledged_to: Arc::default(),
        };
        let events = manifest.events(kind).expect("a plan has events");
        let outgoing = events.map(|planned| OutgoingEvent { body: planned.body, event: planned.event });
        let produced = produce(&settings, stream::iter(outgoing)).await;
        produced.expect("a simulated topic refuses nothing");
    }

    /// Publishes all orders and payments of a scenario.
    pub async fn publish_all(&self, manifest: &Manifest) {
        tokio::join!(
            self.publish(manifest, EventKind::Order, "orders"),
            self.publish(manifest, EventKind::Payment, "payments"),
        );
    }

    /// Returns the scenario to publish.
    pub fn manifest(&self) -> Manifest {
        let Conditions { orders, mixture, .. } = self.conditions;
        let plan = ScenarioPlan::try_new(self.seed, 1..=orders, mixture).expect("the shares are valid");
        Manifest::new(Streams::Both, EventSource::Scenario(plan), "run".into(), self.broker.now_us())
    }

    /// Returns a random index of a list of this length.
    pub fn index(&self, len: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let index = (self.entropy.share() * len as f64) as usize;
        index.min(len.saturating_sub(1))
    }

    /// Ends all faults, and applies the writes that were to be applied later.
    pub fn heal(&self) {
        self.faults.heal();
        self.broker.heal();
        self.late.apply(&mut self.store.tables());
    }

    /// Sets the part of the dead-letter store that scans cannot read, as the start of its ids.
    pub fn set_unreadable(&self, part: Option<String>) {
        *self.unreadable.lock().expect("no holder panics") = part;
    }

    /// Waits until every message is acked and every waiting dead letter whose order is there was attempted,
    /// stops the roles, and sweeps the dead-letter store.
    pub async fn finish(&self, running: Vec<RunningRole>) {
        let seed = self.seed;
        let drained = tokio::time::timeout(FINISH, self.broker.drained()).await;
        assert!(drained.is_ok(), "seed {seed}: messages were left: {:?}", *self.broker);
        // A part that cannot be read stops none of the others.
        self.until_none_starves().await;
        self.set_unreadable(None);
        self.until_none_starves().await;
        for role in running {
            role.end(seed).await;
        }
        let (_, retrier) = self.retrier(role::Role::DlqHandler);
        let resolver = self.resolver(&self.store, Clock::anchored(self.broker.now_us()), retrier);
        for _ in 0..2 {
            sweep(&resolver, WaitingDeadLetters::AreAttempted).await.expect("nothing is refused");
        }
        let violations = self.broker.violations();
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    }

    async fn until_none_starves(&self) {
        let none_starves = tokio::time::timeout(FINISH, async {
            while self.starving().is_some() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        assert!(none_starves.await.is_ok(), "seed {}: {:?} starves", self.seed, self.starving());
    }

    /// Returns an open dead letter that applies now.
    fn starving(&self) -> Option<DeadLetterId> {
        let unreadable = self.unreadable.lock().expect("no holder panics").clone();
        let is_unreadable =
            |id: &DeadLetterId| unreadable.as_ref().is_some_and(|part| id.as_str().starts_with(part));
        let tables = self.store.tables();
        let applies = |dead_letter: &DeadLetter| {
            let row = dead_letter.order_id.and_then(|order| tables.facts.get(&order));
            row.is_some_and(|row| row.has_order() && row.payment_written_at < Some(dead_letter.t))
        };
        let is_swept = self.conditions.policy.sweep_interval < Duration::from_secs(60);
        let starves = |record: &DeadLetterRecord| {
            // One that was reopened is scheduled when the store is read the next time.
            (is_swept || record.progress.generation == 0)
                && record.dead_letter.reason == Reason::OrderNotFound
                && (record.state() == DeadLetterState::Waiting
                    || record.state() == DeadLetterState::Parked && is_swept)
                && applies(&record.dead_letter)
                && !is_unreadable(&record.dead_letter.id)
        };
        tables.records().find(starves).map(|record| record.dead_letter.id)
    }

    /// Asserts that rows, dead letters and histories are those of the scenario.
    pub async fn assert_clean(&self, manifest: &Manifest) {
        let seed = self.seed;
        let units = Units::of(std::slice::from_ref(manifest), EventContent::of).expect("a plan has events");
        let found = verify(&units, &*self.store, &*self.store).await.expect("nothing fails");
        assert!(found.is_clean(), "seed {seed}: {found}");
        check_histories(&self.store.tables(), seed);
    }
}

/// Returns the signature of every history entry.
pub fn actor() -> Actor {
    Actor { name: "test".into(), host: "simulated".into(), run_id: "run".into() }
}

/// A role that runs: when its process is killed, refused or stopped, another one is started.
pub struct RunningRole {
    /// The role.
    pub role: Role,
    /// The faults of its processes.
    pub injector: Arc<Injector>,
    ended: CancellationToken,
    current: Arc<Mutex<CancellationToken>>,
    task: tokio::task::JoinHandle<u64>,
}

impl RunningRole {
    /// Starts a role.
    pub fn start(world: &Arc<World>, role: Role, injector: Arc<Injector>) -> Self {
        let ended = CancellationToken::new();
        let current = Arc::new(Mutex::new(ended.child_token()));
        let supervised =
            supervise(Arc::clone(world), role, Arc::clone(&injector), ended.clone(), Arc::clone(&current));
        Self { role, injector, ended, current, task: tokio::spawn(supervised) }
    }

    /// Asks the current process to stop; the next one is started when it has.
    pub fn stop_process(&self) {
        self.current.lock().expect("no holder panics").cancel();
    }

    /// Stops the role and waits for its process. Returns the number of its processes.
    ///
    /// # Panics
    /// If it does not stop in time, or has panicked.
    pub async fn end(self, seed: u64) -> u64 {
        self.ended.cancel();
        let ended = tokio::time::timeout(FINISH, self.task).await;
        let ended = ended.unwrap_or_else(|_| panic!("seed {seed}: {:?} does not stop", self.role));
        ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

/// Runs one process of a role after another until `ended`. Returns their number.
async fn supervise(
    world: Arc<World>,
    role: Role,
    injector: Arc<Injector>,
    ended: CancellationToken,
    current: Arc<Mutex<CancellationToken>>,
) -> u64 {
    let mut processes = 0;
    while !ended.is_cancelled() {
        processes += 1;
        let stop = ended.child_token();
        *current.lock().expect("no holder panics") = stop.clone();
        injector.restart();
        let process = world.process(&injector, &stop);
        let mut task = tokio::spawn(Arc::clone(&world).run(role, process));
        let result = tokio::select! {
            biased;
            () = injector.until_killed() => {
                task.abort();
                (&mut task).await
            }
            result = &mut task => result,
        };
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) if injector.is_refused() => {
                // As an orchestrator starts it again.
                let _ = error;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(Err(error)) => panic!("seed {}: {role:?} failed: {error}", world.seed),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }
    processes
}
