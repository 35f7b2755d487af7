//! The consumers' own code: handlers, and a lane around one.

use std::hint::black_box;
use std::sync::Arc;

use async_trait::async_trait;
use ecom::bus::{Backlog, Delivery, Feed, Lease, Message, Publisher, Receipt, Received, Subscription};
use ecom::clock::{Chance, Clock};
use ecom::domain::letter::Kind;
use ecom::metrics::RoleMetrics;
use ecom::pipeline::consume::{Bounds, Consume, Handler, consume};
use ecom::pipeline::dead_letters::DeadLetters;
use ecom::pipeline::durable::Retrying;
use ecom::pipeline::order_locks::OrderLocks;
use ecom::pipeline::orders::Orders;
use ecom::pipeline::payments::Payments;
use ecom::pipeline::settlement::{Settlement, Step};
use ecom::pipeline::window;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::events::Events;
use crate::facts::Facts;
use crate::path::Work;

/// The dead-letter topic of a run without a bad message.
struct NoLetters;

#[async_trait]
impl Publisher for NoLetters {
    async fn publish(&self, _: Message) -> Receipt {
        panic!("every message here is sound");
    }

    async fn flush(&self) {}
}

/// A lease that costs nothing.
struct Free;

impl Lease for Free {
    fn ack(self: Box<Self>) {}

    fn nack(self: Box<Self>) {
        panic!("every delivery here is acked");
    }
}

/// A bus that has handed out everything beforehand.
struct Spent;

#[async_trait]
impl Feed for Spent {
    fn answers(&self) -> bool {
        true
    }

    async fn backlog(&self) -> Backlog {
        Backlog::Unknown
    }

    fn close(&self) {}

    async fn stopped(&self) {}
}

/// A runtime like the binaries': one thread.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime without I/O")
}

fn retrying(metrics: &Arc<RoleMetrics>) -> Arc<Retrying> {
    Arc::new(Retrying::new(Arc::new(Chance::seeded(1)), Arc::clone(metrics)))
}

fn dead_letters(kind: Kind, metrics: &Arc<RoleMetrics>) -> DeadLetters {
    DeadLetters {
        publisher: Arc::new(NoLetters),
        kind,
        subscription: "source-sub".to_owned(),
        clock: Clock::System,
        metrics: Arc::clone(metrics),
    }
}

fn order_handler(metrics: &Arc<RoleMetrics>) -> Orders {
    Orders {
        facts: Arc::new(Facts::default()),
        dead_letters: dead_letters(Kind::Order, metrics),
        retrying: retrying(metrics),
    }
}

/// Orders through their handler.
pub fn orders(events: usize) -> Work {
    let metrics = Arc::new(RoleMetrics::new("order_consumer"));
    handled(order_handler(&metrics), Events::orders(), events)
}

/// Payments through their handler.
pub fn payments(events: usize) -> Work {
    let metrics = Arc::new(RoleMetrics::new("payment_consumer"));
    let handler = Payments {
        facts: Arc::new(Facts::default()),
        dead_letters: dead_letters(Kind::Payment, &metrics),
        retrying: retrying(&metrics),
        locks: OrderLocks::new(),
    };
    handled(handler, Events::payments(), events)
}

fn handled<H: Handler>(handler: H, messages: Events, events: usize) -> Work {
    let runtime = runtime();
    Box::new(move || {
        runtime.block_on(async {
            for received in messages.take(events) {
                let step = handler.handle(black_box(received), true).await;
                let applied = matches!(black_box(step), Ok(Step::Settled(Settlement::Applied(_))));
                assert!(applied, "every message here is applied");
            }
        });
    })
}

/// Orders through a lane. What the bus's adapter makes, delivery and lease, is made beforehand.
pub fn lane(events: usize) -> Work {
    let metrics = Arc::new(RoleMetrics::new("order_consumer"));
    let handler = Arc::new(order_handler(&metrics));
    let (handed_out, intake) = mpsc::channel(events.max(1));
    for received in Events::orders().take(events) {
        let received: Received = received.clone();
        let full = handed_out.try_send(Delivery::new(received, Box::new(Free))).is_err();
        assert!(!full, "the channel has room for all of them");
    }
    let settings = Consume {
        subscription: Arc::new(Subscription::new(intake, Box::new(Spent))),
        window: window::Bounds::from(1, 1),
        hold: None,
        bounds: Bounds { count: u64::try_from(events).ok(), ..Bounds::default() },
        metrics: Arc::clone(&metrics),
        stop: CancellationToken::new(),
    };
    let runtime = runtime();
    Box::new(move || {
        runtime.block_on(consume(handler, settings)).expect("nothing is refused");
        assert_eq!(usize::try_from(metrics.finished()), Ok(events), "every delivery was settled");
        drop(handed_out);
    })
}
