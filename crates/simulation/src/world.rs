//! The world of a schedule: the roles on a simulated bus and store, their clocks, and the scenario.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ecom_clock::{Clock, Entropy};
use ecom_codec::json;
use ecom_domain::dead_letter::{DeadLetter, DeadLetterId, DeadLetterRecord, DeadLetterState};
use ecom_domain::event_time::EventTime;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_domain::role;
use ecom_pipeline::actor::Actor;
use ecom_pipeline::dead_letter_resolver::DeadLetterResolver;
use ecom_pipeline::durable::Retrier;
use ecom_pipeline::order_locks::OrderLocks;
use ecom_pipeline::sweep::{WaitingDeadLetters, sweep};
use ecom_scenario::{
    Difference, DifferenceKind, EventContent, EventSource, Manifest, ScenarioPlan, Streams, Units, verify,
};
use ecom_store::memory::{Interceptor, MemoryStore, Tables};
use ecom_telemetry::metrics::RoleMetrics;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::conditions::Conditions;
use crate::faults::{FaultRates, Injector, SharedFaults};
use crate::operators::CommandLog;
use crate::oracle;
use crate::role_bus::RoleBus;
use crate::running_role::RunningRole;
use crate::store::{LateWrites, RoleStore, StoreFaults, UnreadablePart, check_histories};

/// The simulated time at the start, in microseconds since the epoch.
const EPOCH: i64 = 1_705_831_290_000_000;
/// A second, in microseconds.
const SECOND: i64 = 1_000_000;
/// The most that a world may take to finish its work after its faults have ended.
pub(crate) const FINISH: Duration = Duration::from_secs(120);

/// All that the roles share.
pub struct World {
    /// The seed of everything random.
    pub seed: u64,
    /// The conditions: what is published, which roles run, and which faults they meet.
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
    pub(crate) fn producer_clock(&self) -> Clock {
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
        let restamped = self.restamped();
        let is_superseded_by_a_copy = |difference: &&Difference| {
            difference.kind == DifferenceKind::Stale
                && difference.order_id.is_some_and(|order_id| restamped.contains(&order_id))
        };
        let superseded = found.differences.iter().filter(is_superseded_by_a_copy).count();
        assert_eq!(found.difference_count(), superseded as u64, "seed {seed}: {found}");
        check_histories(&self.store.tables(), seed);
    }

    /// Returns the orders with an order event whose copies have different event times: the clock of its publisher was
    /// fast, and was set back by different multiples of ten seconds because a copy was published later. That copy
    /// supersedes an event that was published between them.
    fn restamped(&self) -> BTreeSet<OrderId> {
        let mut times: BTreeMap<Bytes, BTreeSet<EventTime>> = BTreeMap::new();
        for received in self.broker.log("orders") {
            times.entry(received.message.body.clone()).or_default().insert(received.event_time());
        }
        let restamped = times.iter().filter(|(_, times)| times.len() > 1);
        restamped.filter_map(|(body, _)| Some(json::order(body).ok()?.order_id)).collect()
    }
}

/// Returns the signature of every history entry.
pub fn actor() -> Actor {
    Actor { name: "test".into(), host: "simulated".into(), run_id: "run".into() }
}
