//! Triage looks orders up concurrently, up to the window of the queue.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ecom_domain::verdict::Verdict;
use ecom_store::StoreError;
use ecom_store::memory::{Interceptor, MemoryStore, Tables, Write};
use tokio::sync::Barrier;

use super::fixture::*;
use crate::waiting::within;

/// Blocks lookups until as many are in flight as the window allows.
struct Lookups {
    together: Barrier,
    in_flight: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl Interceptor for Lookups {
    async fn read(&self, what: &'static str, _: &Mutex<Tables>) -> Result<(), StoreError> {
        assert_eq!(what, "read a payment", "a payment's slot says enough");
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.together.wait().await;
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }

    async fn write(&self, _: &'static str, _: &Mutex<Tables>, _: Write) -> Result<(), StoreError> {
        unreachable!("triage only reads")
    }
}

#[tokio::test]
async fn triage_looks_orders_up_concurrently_within_the_window() {
    let store = TestStore::embedded();
    for n in 1..=64 {
        store.record(&orphan(n, n, NOW - n * SECOND)).await;
    }
    let mut queue = store.queue();
    let lookups = Lookups {
        together: Barrier::new(queue.window),
        in_flight: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    };
    let facts = Arc::new(MemoryStore::new(lookups, Tables::default()));
    queue.facts = facts.clone();
    let triage = queue.triage(&POLICY, &|_| {});
    let triage = within(Duration::from_secs(60), "one lookup after the other", triage).await.unwrap();
    assert_eq!((triage.open, triage.groups[0].verdict), (64, Verdict::StillWaiting));
    assert_eq!(facts.interceptor.most.load(Ordering::SeqCst), queue.window);
}
