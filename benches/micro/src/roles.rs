//! The consumers' own code: handlers, and a worker around one.

use std::hint::black_box;
use std::sync::Arc;

use async_trait::async_trait;
use ecom_bus::{Backlog, Delivery, Feed, Lease, Message, Publisher, Receipt, ReceivedMessage, Subscription};
use ecom_clock::{Clock, Entropy};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::role::Role;
use ecom_pipeline::concurrency_limit::ConcurrencyBounds;
use ecom_pipeline::consume::{ConsumerSettings, consume};
use ecom_pipeline::dead_letter_publisher::DeadLetterPublisher;
use ecom_pipeline::disposition::Disposition;
use ecom_pipeline::durable::Retrier;
use ecom_pipeline::handler::{Applied, Handler};
use ecom_pipeline::order_locks::OrderLocks;
use ecom_pipeline::orders::Orders;
use ecom_pipeline::payments::Payments;
use ecom_pipeline::stop_conditions::StopConditions;
use ecom_telemetry::metrics::RoleMetrics;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::events::Events;
use crate::facts::Facts;
use crate::path::Work;

/// The dead-letter topic of a run without a bad message.
struct NoDeadLetters;

#[async_trait]
impl Publisher for NoDeadLetters {
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

fn retrier(metrics: &Arc<RoleMetrics>) -> Arc<Retrier> {
    Arc::new(Retrier::new(Arc::new(Entropy::seeded(1)), Arc::clone(metrics)))
}

fn dead_letters(kind: EventKind, metrics: &Arc<RoleMetrics>) -> DeadLetterPublisher {
    DeadLetterPublisher {
        publisher: Arc::new(NoDeadLetters),
        kind,
        subscription: "source-sub".to_owned(),
        clock: Clock::System,
        metrics: Arc::clone(metrics),
    }
}

fn order_handler(metrics: &Arc<RoleMetrics>) -> Orders {
    Orders {
        facts: Arc::new(Facts::default()),
        dead_letters: dead_letters(EventKind::Order, metrics),
        retrier: retrier(metrics),
    }
}

/// Orders through their handler.
pub fn orders(events: usize) -> Work {
    let metrics = Arc::new(RoleMetrics::new(Role::OrderConsumer));
    handled(order_handler(&metrics), Events::orders(), events)
}

/// Payments through their handler.
pub fn payments(events: usize) -> Work {
    let metrics = Arc::new(RoleMetrics::new(Role::PaymentConsumer));
    let handler = Payments {
        facts: Arc::new(Facts::default()),
        dead_letters: dead_letters(EventKind::Payment, &metrics),
        retrier: retrier(&metrics),
        locks: OrderLocks::new(),
    };
    handled(handler, Events::payments(), events)
}

fn handled<H: Handler>(handler: H, messages: Events, events: usize) -> Work {
    let runtime = runtime();
    Box::new(move || {
        runtime.block_on(async {
            for received in messages.take(events) {
                let decoded = handler.decode(black_box(received));
                let applied = handler.apply(received, &decoded).await;
                let applied = matches!(black_box(applied), Ok(Applied::Done(Disposition::Applied(_))));
                assert!(applied, "every message here is applied");
            }
        });
    })
}

/// Orders through a worker. What the bus's adapter makes, delivery and lease, is made beforehand.
pub fn worker(events: usize) -> Work {
    let metrics = Arc::new(RoleMetrics::new(Role::OrderConsumer));
    let handler = Arc::new(order_handler(&metrics));
    let (handed_out, intake) = mpsc::channel(events.max(1));
    for received in Events::orders().take(events) {
        let received: ReceivedMessage = received.clone();
        let full = handed_out.try_send(Delivery::new(received, Box::new(Free))).is_err();
        assert!(!full, "the channel has room for all of them");
    }
    let settings = ConsumerSettings {
        subscription: Arc::new(Subscription::new(intake, Box::new(Spent))),
        source: "source-sub".to_owned(),
        concurrency: ConcurrencyBounds::new(1, 1),
        early_payments: None,
        stop_conditions: StopConditions { count: u64::try_from(events).ok(), ..StopConditions::default() },
        metrics: Arc::clone(&metrics),
        stop: CancellationToken::new(),
    };
    let runtime = runtime();
    Box::new(move || {
        runtime.block_on(consume(handler, settings)).expect("nothing is refused");
        assert_eq!(usize::try_from(metrics.acked()), Ok(events), "every delivery is acked");
        drop(handed_out);
    })
}
