//! How the operator looks up many orders: side by side, and no more than the store's window.

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

/// A fact table that answers lookups only as many at once as its window is wide.
struct Wide {
    together: Barrier,
    in_flight: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl FactStore for Wide {
    async fn record_order(&self, _: &Order<'_>, _: EventTime) -> Result<(), StoreError> {
        unreachable!("the operator only looks")
    }

    async fn payment_slot(&self, _: OrderId) -> Result<PaymentSlot, StoreError> {
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.together.wait().await;
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        Ok(PaymentSlot::NoOrder)
    }

    async fn record_payment(&self, _: &Payment<'_>, _: EventTime) -> Result<(), StoreError> {
        unreachable!("the operator only looks")
    }

    async fn fact(&self, _: OrderId) -> Result<Option<Fact>, StoreError> {
        unreachable!("a payment's slot says enough")
    }

    fn facts(&self) -> BoxStream<'_, Result<Fact, StoreError>> {
        unreachable!("the operator never scans the fact table")
    }

    fn describe(&self) -> String {
        "a wide table".into()
    }
}

#[tokio::test]
async fn triage_looks_orders_up_side_by_side_within_the_window() {
    let place = Place::embedded();
    for n in 1..=64 {
        place.record(&orphan(n, n, NOW - n * SECOND)).await;
    }
    let mut queue = place.queue();
    let wide = Arc::new(Wide {
        together: Barrier::new(queue.window),
        in_flight: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    });
    queue.facts = wide.clone();
    let triage = queue.triage(&POLICY, &|_| {});
    let triage = within(Duration::from_secs(60), "one lookup after the other", triage).await.unwrap();
    assert_eq!((triage.open, triage.groups[0].verdict), (64, Verdict::StillWaiting));
    assert_eq!(wide.most.load(Ordering::SeqCst), queue.window);
}
