//! Orders that are applied together: one that the store refuses harms no other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fixture/no_dead_letters.rs"]
mod no_dead_letters;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ecom_bus::{Attributes, Message, ReceivedMessage};
use ecom_clock::{Clock, Entropy};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::OrderId;
use ecom_domain::role::Role;
use ecom_pipeline::disposition::Disposition;
use ecom_pipeline::durable::{Retrier, RoleError};
use ecom_pipeline::handler::{Applied, Handler};
use ecom_pipeline::orders::Orders;
use ecom_store::StoreError;
use ecom_store::memory::{Interceptor, MemoryStore, Tables, Write};
use ecom_telemetry::metrics::RoleMetrics;
use no_dead_letters::no_dead_letters;

/// The first event time, in microseconds since the epoch.
const T: i64 = 1_705_831_290_000_000;
/// An order that the store refuses.
const REFUSED: OrderId = OrderId(6);

/// Refuses one order. Of a group, what comes before it is written.
struct RefusesOne;

#[async_trait]
impl Interceptor for RefusesOne {
    async fn write(
        &self,
        what: &'static str,
        tables: &Mutex<Tables>,
        write: Write,
    ) -> Result<(), StoreError> {
        let mut tables = tables.lock().unwrap();
        let before = tables.clone();
        write(&mut tables);
        if tables.fact(REFUSED).is_some() {
            *tables = before;
            return Err(StoreError::Refused { what, on: "memory:".into(), source: "too large".into() });
        }
        Ok(())
    }
}

fn order(id: i64) -> ReceivedMessage {
    let body = format!(
        "{{\"order_id\":{id},\"customer_id\":7,\"item\":\"Laptop\",\"quantity\":2,\"price\":9.5,\
         \"shipping_address\":\"1 Main Street\",\"order_status\":\"Shipped\",\"creation_date\":\"today\"}}"
    );
    let attributes = Attributes::from_iter([("event_time_us", (T + id).to_string())]);
    ReceivedMessage {
        message: Message { body: body.into(), attributes },
        id: id.to_string(),
        publish_time_us: T + id,
        attempt: 1,
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_the_store_refuses_harms_no_other_in_its_group() {
    let store = Arc::new(MemoryStore::new(RefusesOne, Tables::default()));
    let metrics = Arc::new(RoleMetrics::new(Role::OrderConsumer));
    let handler = Orders {
        facts: store.clone(),
        dead_letters: no_dead_letters(
            EventKind::Order,
            "orders_data-sub",
            Clock::anchored(T),
            Arc::clone(&metrics),
        ),
        retrier: Arc::new(Retrier::new(Arc::new(Entropy::seeded(1)), metrics)),
    };
    let received: Vec<_> = (1..=10).map(order).collect();
    let decoded: Vec<_> = received.iter().map(|received| handler.decode(received)).collect();
    let group: Vec<_> = received.iter().zip(&decoded).collect();

    let together = handler.apply_together(&group).await;
    assert!(together.iter().all(Option::is_none), "each is to be applied alone: {together:?}");
    for (received, decoded) in group {
        let alone = handler.apply(received, decoded).await;
        if decoded.order_id == Some(REFUSED) {
            assert!(matches!(alone, Err(RoleError::Store(StoreError::Refused { .. }))), "{alone:?}");
        } else {
            assert!(matches!(alone, Ok(Applied::Done(Disposition::Applied(_)))), "{alone:?}");
        }
    }
    let written: Vec<i64> = store.tables().facts().map(|fact| fact.order_id.0).collect();
    assert_eq!(written, [1, 2, 3, 4, 5, 7, 8, 9, 10]);

    let group: Vec<_> = received.iter().zip(&decoded).filter(|(received, _)| received.id != "6").collect();
    let together = handler.apply_together(&group).await;
    let is_applied = |result: &_| matches!(result, Some(Applied::Done(Disposition::Applied(_))));
    assert!(together.iter().all(is_applied), "{together:?}");
}
