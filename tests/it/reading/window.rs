//! Triage looks orders up concurrently, up to the window of the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{Fact, PaymentSlot};
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;
use ecom_domain::verdict::Verdict;
use ecom_store::{FactStore, StoreError};
use futures_util::stream::BoxStream;
use tokio::sync::Barrier;

use super::fixture::*;
use crate::waiting::within;

/// A fact table that blocks lookups until as many are in flight as the window allows.
struct ConcurrentFacts {
    together: Barrier,
    in_flight: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl FactStore for ConcurrentFacts {
    async fn record_order(&self, _: &Order<'_>, _: EventTime) -> Result<(), StoreError> {
        unreachable!("triage only reads")
    }

    async fn payment_slot(&self, _: OrderId) -> Result<PaymentSlot, StoreError> {
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.together.wait().await;
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        Ok(PaymentSlot::NoOrder)
    }

    async fn record_payment(&self, _: &Payment<'_>, _: EventTime) -> Result<(), StoreError> {
        unreachable!("triage only reads")
    }

    async fn fact(&self, _: OrderId) -> Result<Option<Fact>, StoreError> {
        unreachable!("a payment's slot says enough")
    }

    fn facts(&self) -> BoxStream<'_, Result<Fact, StoreError>> {
        unreachable!("triage never scans the fact table")
    }

    fn describe(&self) -> String {
        "a fact table".into()
    }
}

#[tokio::test]
async fn triage_looks_orders_up_concurrently_within_the_window() {
    let store = TestStore::embedded();
    for n in 1..=64 {
        store.record(&orphan(n, n, NOW - n * SECOND)).await;
    }
    let mut queue = store.queue();
    let facts = Arc::new(ConcurrentFacts {
        together: Barrier::new(queue.window),
        in_flight: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    });
    queue.facts = facts.clone();
    let triage = queue.triage(&POLICY, &|_| {});
    let triage = within(Duration::from_secs(60), "one lookup after the other", triage).await.unwrap();
    assert_eq!((triage.open, triage.groups[0].verdict), (64, Verdict::StillWaiting));
    assert_eq!(facts.most.load(Ordering::SeqCst), queue.window);
}
