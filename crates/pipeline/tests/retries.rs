//! The retry loop with more waiting dead letters than it keeps in memory.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fixture/resolver.rs"]
mod resolver;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ecom_domain::attributes::Attributes;
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
