//! Payments that lose: recorded by whoever supersedes, or is superseded, in whatever order they arrive, with writers
//! that crash and writers that do not see each other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fixture/no_dead_letters.rs"]
mod no_dead_letters;
#[path = "fixture/resolver.rs"]
mod resolver;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ecom_bus::{Attributes, Message, ReceivedMessage};
use ecom_clock::{Clock, Entropy};
use ecom_domain::dead_letter::{DeadLetter, DeadLetterId, EventKind, StoredBody};
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{OrderCells, SupersededPayment};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_domain::role::Role;
use ecom_pipeline::dead_letter_resolver::AttemptTrigger;
use ecom_pipeline::disposition::Disposition;
use ecom_pipeline::durable::{Retrier, RoleError};
use ecom_pipeline::handler::{Applied, Handler};
use ecom_pipeline::order_locks::OrderLocks;
use ecom_pipeline::payments::Payments;
use ecom_store::StoreError;
use ecom_store::memory::{Interceptor, MemoryStore, Tables, Write};
use ecom_telemetry::metrics::RoleMetrics;
use futures_util::future::join_all;
use no_dead_letters::no_dead_letters;
use resolver::resolver;

/// The first event time, in microseconds since the epoch.
const T: i64 = 1_705_831_290_000_000;
const ORDER: OrderId = OrderId(7);

/// The part of a writer's life to test.
struct Faults {
    /// Waits before each operation, drawn from this.
    entropy: Entropy,
    /// The number of the write that fails for good, and is not applied: a crash.
    crash_at: usize,
    keeps_unseen: bool,
    writes: AtomicUsize,
    done: Mutex<Vec<&'static str>>,
}

impl Faults {
    fn none() -> Self {
        Self {
            entropy: Entropy::seeded(1),
            crash_at: usize::MAX,
            keeps_unseen: false,
            writes: AtomicUsize::new(0),
            done: Mutex::default(),
        }
    }

    async fn pause(&self, what: &'static str) {
        let wait = (self.entropy.share() * 4.0) as u64;
        tokio::time::sleep(Duration::from_millis(wait)).await;
        self.done.lock().unwrap().push(what);
    }
}

#[async_trait]
impl Interceptor for Faults {
    async fn read(&self, what: &'static str, _: &Mutex<Tables>) -> Result<(), StoreError> {
        self.pause(what).await;
        Ok(())
    }

    async fn write(
        &self,
        what: &'static str,
        tables: &Mutex<Tables>,
        write: Write,
    ) -> Result<(), StoreError> {
        self.pause(what).await;
        if self.writes.fetch_add(1, Ordering::Relaxed) == self.crash_at {
            return Err(StoreError::Refused { what, on: "memory:".into(), source: "crashed".into() });
        }
        write(&mut tables.lock().unwrap());
        Ok(())
    }

    fn keeps_unseen_payments(&self) -> bool {
        self.keeps_unseen
    }
}

type Store = Arc<MemoryStore<Faults>>;

/// A store with the order.
fn store(faults: Faults) -> Store {
    let mut tables = Tables::default();
    let cells = OrderCells { customer_id: Some(1), ..OrderCells::default() };
    tables.record_order(ORDER, cells, EventTime::stored(T));
    Arc::new(MemoryStore::new(faults, tables))
}

fn retrier(role: Role) -> Arc<Retrier> {
    Arc::new(Retrier::new(Arc::new(Entropy::seeded(1)), Arc::new(RoleMetrics::new(role))))
}

/// The payment handler of one process.
fn handler(store: &Store) -> Payments {
    Payments {
        facts: store.clone(),
        dead_letters: no_dead_letters(
            EventKind::Payment,
            "payments_data-sub",
            Clock::anchored(T),
            Arc::new(RoleMetrics::new(Role::PaymentConsumer)),
        ),
        retrier: retrier(Role::PaymentConsumer),
        locks: OrderLocks::new(),
    }
}

/// The body of payment `n`, whose event time is T + n.
fn body(n: i64) -> Bytes {
    Bytes::from(format!(
        "{{\"payment_id\":{n},\"order_id\":{ORDER},\"payment_method\":\"PayPal\",\"payment_status\":\"Failed\",\
         \"payment_datetime\":\"yesterday\"}}"
    ))
}

fn received(n: i64) -> ReceivedMessage {
    let attributes = Attributes::from_iter([("event_time_us", (T + n).to_string())]);
    ReceivedMessage {
        message: Message { body: body(n), attributes },
        id: n.to_string(),
        publish_time_us: T + n,
        attempt: 1,
    }
}

/// Handles payment `n` as a consumer does.
async fn consume(handler: &Payments, n: i64) -> Result<Disposition, RoleError> {
    let received = received(n);
    let decoded = handler.decode(&received);
    match handler.apply(&received, &decoded).await? {
        Applied::Done(disposition) => Ok(disposition),
        applied @ (Applied::AwaitOrder | Applied::GiveBack) => panic!("the order is there: {applied:?}"),
    }
}

/// Retries payment `n` as the dead-letter handler does.
async fn resolve(store: &Store, n: i64) -> Result<(), RoleError> {
    let t = EventTime::stored(T + n);
    let dead_letter = DeadLetter {
        id: DeadLetterId::of(EventKind::Payment, t, &body(n)),
        kind: EventKind::Payment,
        t,
        body: StoredBody::keep(&body(n)),
        attributes: Attributes::new(),
        reason: Reason::OrderNotFound,
        detail: String::new(),
        order_id: Some(ORDER),
        payment_id: Some(n),
        first_failed_at: T,
        corrects: None,
    };
    let id = dead_letter.id.clone();
    store.tables().dead_letters.insert(id.clone(), dead_letter);
    resolver(store, T).attempt(&id, AttemptTrigger::Sweep).await.map(drop)
}

/// The ids of the superseded payments, newest first, and of the current one.
fn outcome(store: &Store) -> (Vec<i64>, Option<i64>) {
    let tables = store.tables();
    let id = |lost: SupersededPayment| lost.payment.payment_id.unwrap();
    (tables.superseded().into_iter().map(id).collect(), tables.facts[&ORDER].payment.payment_id)
}

/// Every order of the payments 1 to `n`.
fn arrivals(n: i64) -> Vec<Vec<i64>> {
    (1..=n).fold(vec![Vec::new()], |shorter, next| {
        let insert = |arrival: Vec<i64>| {
            (0..=arrival.len()).map(move |place| {
                let mut longer = arrival.clone();
                longer.insert(place, next);
                longer
            })
        };
        shorter.into_iter().flat_map(insert).collect()
    })
}

#[tokio::test(start_paused = true)]
async fn every_payment_but_the_newest_is_recorded_in_any_order_of_arrival_at_any_writer() {
    for arrival in arrivals(4) {
        // Who handles a payment: one of two consumers, or the dead-letter handler.
        for writers in 0..3_usize.pow(4) {
            let store = store(Faults::none());
            let consumers = [handler(&store), handler(&store)];
            for (nth, n) in (0_u32..).zip(&arrival) {
                match writers / 3_usize.pow(nth) % 3 {
                    2 => resolve(&store, *n).await.unwrap(),
                    consumer => drop(consume(&consumers[consumer], *n).await.unwrap()),
                }
            }
            assert_eq!(outcome(&store), (vec![3, 2, 1], Some(4)), "{arrival:?}, {writers}");
        }
    }
}

/// Handles payments as a consumer does that has all of them at once; returns how many were applied together.
async fn consume_together(handler: &Payments, payments: &[i64]) -> usize {
    let received: Vec<_> = payments.iter().map(|n| received(*n)).collect();
    let decoded: Vec<_> = received.iter().map(|received| handler.decode(received)).collect();
    let group: Vec<_> = received.iter().zip(&decoded).collect();
    let together = handler.apply_together(&group).await;
    for ((received, decoded), result) in group.into_iter().zip(&together) {
        if result.is_none() {
            handler.apply(received, decoded).await.unwrap();
        }
    }
    together.iter().flatten().count()
}

#[tokio::test(start_paused = true)]
async fn payments_of_one_order_in_one_group_end_at_the_newest_and_the_others_are_recorded() {
    for arrival in arrivals(4) {
        let store = store(Faults::none());
        let handler = handler(&store);
        assert_eq!(consume_together(&handler, &arrival).await, 1, "{arrival:?}");
        assert_eq!(outcome(&store), (vec![3, 2, 1], Some(4)), "{arrival:?}");
        // Once more: the newest is there, and the others have to be recorded again.
        assert_eq!(consume_together(&handler, &arrival).await, usize::from(arrival[0] == 4), "{arrival:?}");
        assert_eq!(outcome(&store), (vec![3, 2, 1], Some(4)), "{arrival:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_payment_that_replaces_none_takes_one_read_and_one_write() {
    let store = store(Faults::none());
    consume(&handler(&store), 1).await.unwrap();
    assert_eq!(*store.interceptor.done.lock().unwrap(), ["read a payment", "record a payment"]);
}

#[tokio::test(start_paused = true)]
async fn the_loser_is_durable_before_the_winner_replaces_it_and_before_its_own_ack() {
    let store = store(Faults::none());
    let consumer = handler(&store);
    for n in [1, 3, 2] {
        consume(&consumer, n).await.unwrap();
    }
    let expected = [
        ["read a payment", "record a payment"].as_slice(),
        &["read a payment", "record a superseded payment", "record a payment"],
        &["read a payment", "record a superseded payment"],
    ];
    assert_eq!(*store.interceptor.done.lock().unwrap(), expected.concat());
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_write_loses_no_superseded_payment() {
    for arrival in arrivals(3) {
        for crash_at in 0..6 {
            for by_resolver in [false, true] {
                let store = store(Faults { crash_at, ..Faults::none() });
                for n in &arrival {
                    // The message, or the dead letter, is there until its handling succeeds.
                    let mut failed = 0;
                    while match by_resolver {
                        true => resolve(&store, *n).await.is_err(),
                        false => consume(&handler(&store), *n).await.is_err(),
                    } {
                        failed += 1;
                        assert_eq!(failed, 1, "it crashes once");
                    }
                }
                let expected = (vec![2, 1], Some(3));
                assert_eq!(outcome(&store), expected, "{arrival:?}, crash at {crash_at}, {by_resolver}");
            }
        }
    }
}

/// Handles the payments 1 to 5 at once at two consumers and the dead-letter handler, and returns the store.
async fn at_once(seed: u64, keeps_unseen: bool, consumers: usize) -> Store {
    let store = store(Faults { entropy: Entropy::seeded(seed), keeps_unseen, ..Faults::none() });
    let handlers: Vec<Payments> = (0..consumers).map(|_| handler(&store)).collect();
    let all = (1..=5).map(|n| {
        let (store, handlers) = (&store, &handlers);
        async move {
            let writer = usize::try_from(n).unwrap() % (consumers + 1);
            match handlers.get(writer) {
                Some(handler) => consume(handler, n).await.map(drop),
                None if consumers > 1 => resolve(store, n).await,
                None => consume(&handlers[0], n).await.map(drop),
            }
        }
    });
    assert!(join_all(all).await.into_iter().all(|done| done.is_ok()));
    store
}

#[tokio::test(start_paused = true)]
async fn writers_of_one_process_lose_none_whatever_the_store_keeps() {
    for seed in 0..300 {
        let store = at_once(seed, false, 1).await;
        assert_eq!(outcome(&store), (vec![4, 3, 2, 1], Some(5)), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn writers_that_do_not_see_each_other_lose_none_where_the_store_keeps_what_none_of_them_saw() {
    for seed in 0..300 {
        let store = at_once(seed, true, 2).await;
        assert_eq!(outcome(&store), (vec![4, 3, 2, 1], Some(5)), "seed {seed}");
    }
}

/// The reason for `store.cassandra.record_all_payments`: both writers read before either writes.
#[tokio::test(start_paused = true)]
async fn a_store_that_keeps_only_what_a_writer_saw_misses_a_loss_that_none_saw() {
    let mut missed = 0;
    for seed in 0..300 {
        missed += usize::from(outcome(&at_once(seed, false, 2).await).0.len() < 4);
    }
    assert!(missed > 0);
}
