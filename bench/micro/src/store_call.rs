//! One call of the store, through the port and directly: what the port itself costs is the difference.

use std::hint::black_box;
use std::sync::Arc;

use ecom::codec::json;
use ecom::domain::event_time::EventTime;
use ecom::domain::order::Order;
use ecom::store::FactStore;

use crate::events::Events;
use crate::facts::Facts;
use crate::path::Work;
use crate::roles::runtime;

/// Calls as the handlers do.
pub fn through_the_port(events: usize) -> Work {
    let (facts, orders): (Arc<dyn FactStore>, _) = (Arc::new(Facts::default()), decoded());
    let runtime = runtime();
    Box::new(move || {
        runtime.block_on(async {
            for (order, t) in orders.iter().cycle().take(events) {
                black_box(&facts).record_order(order, *t).await.expect("it answers");
            }
        });
    })
}

/// Calls the store's own function, which the compiler may inline.
pub fn direct(events: usize) -> Work {
    let (facts, orders) = (Arc::new(Facts::default()), decoded());
    let runtime = runtime();
    Box::new(move || {
        runtime.block_on(async {
            for (order, t) in orders.iter().cycle().take(events) {
                black_box(&facts).bind_order(order, *t).await.expect("it answers");
            }
        });
    })
}

fn decoded() -> Vec<(Order<'static>, EventTime)> {
    let order = |received: &ecom::bus::Received| {
        let order = json::order(&received.message.body).expect("a sound order");
        (order.into_owned(), received.event_time())
    };
    Events::orders().take(64).map(order).collect()
}
