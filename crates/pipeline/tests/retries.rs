//! The retry loop with more waiting dead letters than it keeps in memory.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fixture/resolver.rs"]
mod resolver;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ecom_clock::micros;
use ecom_domain::attributes::Attributes;
use ecom_domain::backoff::Backoff;
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterId, DeadLetterProgress, DeadLetterState, EventKind, StoredBody,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::OrderCells;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_pipeline::retries;
use ecom_pipeline::retry_queue::RetryQueue;
use ecom_store::StoreError;
use ecom_store::memory::{Interceptor, MemoryStore, Tables, Write};
use resolver::resolver;
use tokio_util::sync::CancellationToken;

/// The start, in microseconds since the epoch.
const NOW: i64 = 1_705_831_290_000_000;
const DAY: i64 = 86_400_000_000;
/// More than the retry schedule keeps.
const WAITING: i64 = 52_000;
/// The oldest of them, whose orders were recorded meanwhile.
const APPLICABLE: i64 = 100;

/// A store that takes a millisecond for each operation.
struct Slow;

#[async_trait]
impl Interceptor for Slow {
    async fn read(&self, _: &'static str, _: &Mutex<Tables>) -> Result<(), StoreError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(())
    }

    async fn write(&self, _: &'static str, tables: &Mutex<Tables>, write: Write) -> Result<(), StoreError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        write(&mut tables.lock().unwrap());
        Ok(())
    }
}

/// Payment `n`, a day older than the others if its order exists.
fn waiting(n: i64) -> DeadLetter {
    let body = Bytes::from(format!(
        "{{\"payment_id\":{n},\"order_id\":{n},\"payment_method\":\"PayPal\",\"payment_status\":\"Completed\",\
         \"payment_datetime\":\"yesterday\"}}"
    ));
    let t = EventTime::stored(NOW - n - if n <= APPLICABLE { DAY } else { 0 });
    DeadLetter {
        id: DeadLetterId::of(EventKind::Payment, t, &body),
        kind: EventKind::Payment,
        t,
        body: StoredBody::keep(&body),
        attributes: Attributes::new(),
        reason: Reason::OrderNotFound,
        detail: String::new(),
        order_id: Some(OrderId(n)),
        payment_id: Some(n),
        first_failed_at: NOW - 1_000_000,
        corrects: None,
    }
}

#[tokio::test(start_paused = true)]
async fn each_waiting_dead_letter_gets_its_turn_however_many_wait() {
    let mut tables = Tables::default();
    let mut applicable = Vec::new();
    for n in 1..=WAITING {
        let dead_letter = waiting(n);
        if n <= APPLICABLE {
            let cells = OrderCells { customer_id: Some(1), ..OrderCells::default() };
            tables.record_order(OrderId(n), cells, dead_letter.t);
            applicable.push(dead_letter.id.clone());
        }
        tables.dead_letters.insert(dead_letter.id.clone(), dead_letter);
    }
    let store = Arc::new(MemoryStore::new(Slow, tables));
    let (resolver, stop) = (resolver(&store, NOW), CancellationToken::new());
    let (retry_queue, queued) = RetryQueue::channel();
    let recovered = async {
        let state = |id: &DeadLetterId| store.tables().record(id).map(|record| record.state());
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if applicable.iter().all(|id| state(id) == Some(DeadLetterState::Recovered)) {
                break;
            }
        }
        stop.cancel();
        applicable.iter().filter(|id| state(id) == Some(DeadLetterState::Recovered)).count()
    };
    let (ended, recovered) =
        tokio::join!(retries::run(&resolver, retry_queue, queued, stop.clone()), recovered);
    ended.unwrap();
    assert_eq!(recovered, applicable.len(), "recovered within a minute");
}

#[tokio::test(start_paused = true)]
async fn a_retry_scheduled_by_a_clock_that_was_an_hour_ahead_is_made_at_once() {
    let dead_letter = waiting(1);
    let (id, mut tables) = (dead_letter.id.clone(), Tables::default());
    let cells = OrderCells { customer_id: Some(1), ..OrderCells::default() };
    tables.record_order(OrderId(1), cells, dead_letter.t);
    let next_attempt_at = Some(NOW + 3_600_000_000);
    let progress = DeadLetterProgress { attempts: 1, next_attempt_at, ..DeadLetterProgress::default() };
    tables.progress.insert(id.clone(), progress);
    tables.dead_letters.insert(id.clone(), dead_letter);
    let store = Arc::new(MemoryStore::new(Slow, tables));
    let (resolver, stop) = (resolver(&store, NOW), CancellationToken::new());
    let (retry_queue, queued) = RetryQueue::channel();
    let state = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        stop.cancel();
        store.tables().record(&id).map(|record| record.state())
    };
    let (ended, state) = tokio::join!(retries::run(&resolver, retry_queue, queued, stop.clone()), state);
    ended.unwrap();
    assert_eq!(state, Some(DeadLetterState::Recovered));
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_scheduled_that_ended_meanwhile_is_retried_without_a_sweep() {
    let dead_letter = waiting(1);
    let id = dead_letter.id.clone();
    let store = Arc::new(MemoryStore::new(Slow, Tables::default()));
    let (resolver, stop) = (resolver(&store, NOW), CancellationToken::new());
    let (retry_queue, queued) = RetryQueue::channel();
    // The other handler gets a signal to end when this one is ready.
    let other = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        {
            let mut tables = store.tables();
            let cells = OrderCells { customer_id: Some(1), ..OrderCells::default() };
            tables.record_order(OrderId(1), cells, dead_letter.t);
            tables.dead_letters.insert(id.clone(), dead_letter);
            let next_attempt_at = Some(NOW + 30_000_000);
            let progress =
                DeadLetterProgress { attempts: 1, next_attempt_at, ..DeadLetterProgress::default() };
            tables.progress.insert(id.clone(), progress);
        }
        tokio::time::sleep(Duration::from_secs(110)).await;
        stop.cancel();
        store.tables().record(&id).map(|record| record.state())
    };
    let (ended, state) = tokio::join!(retries::run(&resolver, retry_queue, queued, stop.clone()), other);
    ended.unwrap();
    assert_eq!(state, Some(DeadLetterState::Recovered));
}

/// Counts operations, of which it fails the first of each kind named.
struct Counting(Mutex<BTreeMap<&'static str, usize>>, &'static [&'static str]);

impl Counting {
    fn count(&self, what: &'static str) -> Result<(), StoreError> {
        let mut counts = self.0.lock().unwrap();
        let count = counts.entry(what).or_default();
        *count += 1;
        match *count == 1 && self.1.contains(&what) {
            true => Err(StoreError::Unavailable { what, on: "memory:".into(), source: "timeout".into() }),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Interceptor for Counting {
    async fn read(&self, what: &'static str, _: &Mutex<Tables>) -> Result<(), StoreError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.count(what)
    }

    async fn write(
        &self,
        what: &'static str,
        tables: &Mutex<Tables>,
        write: Write,
    ) -> Result<(), StoreError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        write(&mut tables.lock().unwrap());
        self.count(what)
    }
}

/// Runs the retry loop for 200 ms over 200 waiting dead letters, of which the orders of 100 are there and one
/// was discarded; returns the store.
async fn retried(failing: &'static [&'static str]) -> Arc<MemoryStore<Counting>> {
    let mut tables = Tables::default();
    let backoff = Duration::from_secs(3_600);
    for n in 1..=200 {
        let dead_letter = DeadLetter { first_failed_at: NOW - micros(backoff), ..waiting(n) };
        if let Some(order) = dead_letter.order_id.filter(|order| order.0 <= APPLICABLE) {
            let cells = OrderCells { customer_id: Some(1), ..OrderCells::default() };
            tables.record_order(order, cells, dead_letter.t);
        }
        if dead_letter.payment_id == Some(200) {
            let discarded = Some(DeadLetterState::Discarded);
            let progress = DeadLetterProgress { state: discarded, ..DeadLetterProgress::default() };
            tables.progress.insert(dead_letter.id.clone(), progress);
        }
        tables.dead_letters.insert(dead_letter.id.clone(), dead_letter);
    }
    let store = Arc::new(MemoryStore::new(Counting(Mutex::default(), failing), tables));
    let (mut resolver, stop) = (resolver(&store, NOW), CancellationToken::new());
    resolver.policy.backoff = Backoff::try_new(backoff, backoff).unwrap();
    let (retry_queue, queued) = RetryQueue::channel();
    let stopped = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(retries::run(&resolver, retry_queue, queued, stop.clone()), stopped);
    ended.unwrap();
    store
}

fn assert_each_was_attempted_once(store: &MemoryStore<Counting>) {
    for record in store.tables().records() {
        let n = record.dead_letter.payment_id.unwrap();
        let (state, attempts) = match n {
            ..=APPLICABLE => (DeadLetterState::Recovered, 1),
            200 => (DeadLetterState::Discarded, 0),
            _ => (DeadLetterState::Waiting, 1),
        };
        assert_eq!((record.state(), record.progress.attempts), (state, attempts), "payment {n}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_whose_orders_are_missing_are_scheduled_together_and_the_others_are_applied() {
    let store = retried(&[]).await;
    assert_each_was_attempted_once(&store);
    let counts = store.interceptor.0.lock().unwrap();
    assert_eq!(counts["read a dead letter"], 101, "those that are applied, and the discarded one");
    assert_eq!(counts["read dead letters"], 2, "the first one, then all others");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_for_several_is_repeated_for_each() {
    for failing in ["read dead letters", "read a payment", "update a dead letter"] {
        let store = retried(vec![failing].leak()).await;
        assert_each_was_attempted_once(&store);
    }
}
