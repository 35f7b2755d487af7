//! Everything here that calls the pipeline: handlers, a consumer and the codec over a fact table that binds the
//! values of its statements as Cassandra's does, and answers at once.

use crate::events::{self, VARIETY};
use async_trait::async_trait;
use bytes::Bytes;
use ecom_bus::{
    Attributes, Backlog, Delivery, Feed, Lease, Message, Publisher, Receipt, ReceivedMessage, Subscription,
};
use ecom_clock::{Clock, Entropy};
use ecom_codec::envelope::{self, DeliveryFailure};
use ecom_codec::{json, screen::screen};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{Fact, PaymentSlot, SupersededPayment};
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;
use ecom_domain::reason::Reason;
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
use ecom_store::{FactRange, FactStore, StoreError};
use ecom_store_cassandra::values;
use ecom_telemetry::metrics::RoleMetrics;
use futures_util::stream::{self, BoxStream, StreamExt};
use scylla::frame::response::result::{ColumnSpec, ColumnType, NativeType, TableSpec};
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use NativeType::{BigInt, Double, Text};

/// The orders or payments that travel together, as to one Cassandra node.
const GROUP: usize = 10;

/// The handling of a number of events, everything it needs being ready.
pub type Work = Box<dyn FnOnce()>;

/// Returns orders through their handler.
pub fn orders(events: usize) -> Work {
    let metrics = Arc::new(RoleMetrics::new(Role::OrderConsumer));
    handled(order_handler(&metrics), messages(events::order), events)
}

/// Returns payments through their handler.
pub fn payments(events: usize) -> Work {
    let metrics = Arc::new(RoleMetrics::new(Role::PaymentConsumer));
    let handler = Payments {
        facts: Arc::new(Facts::default()),
        dead_letters: dead_letters_of(EventKind::Payment, &metrics),
        retrier: retrier(&metrics),
        locks: OrderLocks::new(),
    };
    handled(handler, messages(events::payment), events)
}

fn handled<H: Handler + 'static>(handler: H, messages: Vec<ReceivedMessage>, events: usize) -> Work {
    let runtime = runtime();
    Box::new(move || {
        runtime.block_on(async {
            let mut messages = messages.iter().cycle().take(events).peekable();
            while messages.peek().is_some() {
                let received: Vec<_> = messages.by_ref().take(handler.group_size()).collect();
                let decoded: Vec<_> =
                    received.iter().map(|received| handler.decode(black_box(received))).collect();
                let group: Vec<_> = received.into_iter().zip(&decoded).collect();
                for applied in handler.apply_together(&group).await {
                    let applied = matches!(black_box(applied), Some(Applied::Done(Disposition::Applied(_))));
                    assert!(applied, "every message here is applied");
                }
            }
        });
    })
}

/// Returns orders through a consumer. What the bus's adapter makes, delivery and lease, is made beforehand.
pub fn consumer(events: usize) -> Work {
    let metrics = Arc::new(RoleMetrics::new(Role::OrderConsumer));
    let handler = Arc::new(order_handler(&metrics));
    let (delivered, intake) = mpsc::channel(events.max(1));
    for received in messages(events::order).iter().cycle().take(events) {
        let full = delivered.try_send(Delivery::new(received.clone(), Box::new(Free))).is_err();
        assert!(!full, "the channel has room for all of them");
    }
    let settings = ConsumerSettings {
        subscription: Arc::new(Subscription::new(intake, Box::new(Spent))),
        source: "source-sub".to_owned(),
        concurrency: ConcurrencyBounds::new(GROUP, GROUP),
        early_payments: None,
        stop_conditions: StopConditions { count: u64::try_from(events).ok(), ..StopConditions::default() },
        metrics: Arc::clone(&metrics),
        stop: CancellationToken::new(),
    };
    let runtime = runtime();
    Box::new(move || {
        runtime.block_on(consume(handler, settings)).expect("nothing is refused");
        assert_eq!(usize::try_from(metrics.acked()), Ok(events), "every delivery is done with");
        drop(delivered);
    })
}

/// Returns dead letters, screened and encoded as a consumer does, decoded as `dlq_handler` does.
pub fn dead_letters(events: usize) -> Work {
    let payments = messages(events::payment);
    let failure = DeliveryFailure {
        reason: Reason::OrderNotFound,
        detail: "order 100007 is not in the fact table",
        kind: EventKind::Payment,
        source_subscription: "payments_data-sub",
        order_id: Some(OrderId(100_007)),
        payment_id: Some(200_007),
        failed_at: 1_705_831_291_000_000,
    };
    Box::new(move || {
        for received in payments.iter().cycle().take(events) {
            let body = screen(&received.message.body);
            let (_, message) = envelope::encode(received, body, &failure);
            let publish_time_us = received.publish_time_us + 20_000;
            let published = ReceivedMessage { message, id: String::new(), publish_time_us, attempt: 1 };
            black_box(envelope::decode(black_box(&published)));
        }
    })
}

/// Returns orders written through the port of the store, as the handlers call it.
pub fn store_port(events: usize) -> Work {
    let (facts, orders): (Arc<dyn FactStore>, _) = (Arc::new(Facts::default()), decoded());
    let runtime = runtime();
    Box::new(move || {
        runtime.block_on(async {
            let mut orders = orders.iter().cycle().take(events).map(|(order, t)| (order, *t)).peekable();
            while orders.peek().is_some() {
                let group: Vec<_> = orders.by_ref().take(GROUP).collect();
                black_box(&facts).record_orders(&group).await.expect("it answers");
            }
        });
    })
}

/// Returns the same calls of the store itself, which the compiler may inline.
pub fn store_itself(events: usize) -> Work {
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
    let order = |received: &ReceivedMessage| {
        let order = json::order(&received.message.body).expect("a sound order");
        (order.into_owned(), received.event_time())
    };
    messages(events::order).iter().map(order).collect()
}

/// Returns messages as the bus delivers them.
fn messages(body: fn(usize) -> String) -> Vec<ReceivedMessage> {
    let received = |n: usize| {
        let publish_time_us = 1_705_831_290_000_000 + n.cast_signed() as i64 * 1_000;
        let attributes = Attributes::from_iter([
            ("event_id", format!("018d2b1e-7c40-7000-8000-0000000000{n:02}")),
            ("event_time_us", publish_time_us.to_string()),
        ]);
        ReceivedMessage {
            message: Message { body: Bytes::from(body(n)), attributes },
            id: format!("99887766554433{n:02}"),
            publish_time_us,
            attempt: 1,
        }
    };
    (0..VARIETY).map(received).collect()
}

/// Returns a runtime like the binaries': one thread.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime without I/O")
}

fn retrier(metrics: &Arc<RoleMetrics>) -> Arc<Retrier> {
    Arc::new(Retrier::new(Arc::new(Entropy::seeded(1)), Arc::clone(metrics)))
}

fn dead_letters_of(kind: EventKind, metrics: &Arc<RoleMetrics>) -> DeadLetterPublisher {
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
        dead_letters: dead_letters_of(EventKind::Order, metrics),
        retrier: retrier(metrics),
    }
}

/// The dead-letter topic of a run without a bad message.
struct NoDeadLetters;

#[async_trait]
impl Publisher for NoDeadLetters {
    async fn publish(&self, _: Message) -> Receipt {
        panic!("every message here is sound");
    }

    async fn flush(&self) {}
}

/// A lease without a service.
struct Free;

impl Lease for Free {
    fn ack(self: Box<Self>) {}

    fn nack(self: Box<Self>) {
        panic!("every delivery here is acked");
    }
}

/// A bus that has delivered everything beforehand.
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

/// The columns of the bound values of each statement, in their order, as the server describes them.
const ORDER: [ColumnSpec<'_>; 9] = [
    column("order_id", BigInt),
    column("customer_id", BigInt),
    column("item", Text),
    column("quantity", BigInt),
    column("price", Double),
    column("shipping_address", Text),
    column("order_status", Text),
    column("creation_date", Text),
    column("[timestamp]", BigInt),
];
const SLOT: [ColumnSpec<'_>; 1] = [column("order_id", BigInt)];
const PAYMENT: [ColumnSpec<'_>; 7] = [
    column("[timestamp]", BigInt),
    column("payment_id", BigInt),
    column("payment_method", Text),
    column("card_last_four", Text),
    column("payment_status", Text),
    column("payment_datetime", Text),
    column("order_id", BigInt),
];

const fn column(name: &'static str, kind: NativeType) -> ColumnSpec<'static> {
    let table = TableSpec::borrowed("ecom_store", "orders_payments_facts");
    ColumnSpec::borrowed(name, ColumnType::Native(kind), table)
}

/// The fact table: every order is there, none is paid. The buffer is the driver's part, and reused.
#[derive(Default)]
struct Facts(Mutex<Vec<u8>>);

impl Facts {
    async fn bind_order(&self, order: &Order<'_>, t: EventTime) -> Result<(), StoreError> {
        self.bind(&ORDER, &values::order(order, t))
    }

    fn bind(&self, columns: &[ColumnSpec<'_>], values: &impl SerializeRow) -> Result<(), StoreError> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.clear();
        let context = RowSerializationContext::from_specs(columns);
        let bound = values.serialize(&context, &mut RowWriter::new(&mut buffer));
        bound.expect("the columns are the statement's");
        black_box(&buffer);
        Ok(())
    }
}

#[async_trait]
impl FactStore for Facts {
    async fn record_orders(&self, orders: &[(&Order<'_>, EventTime)]) -> Result<(), StoreError> {
        for (order, t) in orders {
            self.bind_order(order, *t).await?;
        }
        Ok(())
    }

    async fn payment_slots(&self, order_ids: &[OrderId]) -> Result<Vec<PaymentSlot>, StoreError> {
        let slot = |id: &OrderId| self.bind(&SLOT, &values::key(*id)).map(|()| PaymentSlot::Empty);
        order_ids.iter().map(slot).collect()
    }

    async fn record_payments(&self, payments: &[(&Payment<'_>, EventTime)]) -> Result<(), StoreError> {
        payments.iter().try_for_each(|(payment, t)| self.bind(&PAYMENT, &values::payment(payment, *t)))
    }

    fn group_size(&self) -> usize {
        GROUP
    }

    async fn fact(&self, _: OrderId) -> Result<Option<Fact>, StoreError> {
        Ok(None)
    }

    fn facts(&self) -> BoxStream<'_, Result<Fact, StoreError>> {
        stream::empty().boxed()
    }

    async fn fact_ranges(&self, _: u32) -> Result<Vec<FactRange>, StoreError> {
        Ok(Vec::new())
    }

    fn facts_in(&self, _: FactRange) -> BoxStream<'_, Result<Fact, StoreError>> {
        stream::empty().boxed()
    }

    async fn record_superseded(&self, _: &SupersededPayment) -> Result<(), StoreError> {
        panic!("no payment here supersedes another");
    }

    async fn superseded_of(&self, _: OrderId) -> Result<Vec<SupersededPayment>, StoreError> {
        Ok(Vec::new())
    }

    fn superseded(&self) -> BoxStream<'_, Result<SupersededPayment, StoreError>> {
        stream::empty().boxed()
    }

    fn describe(&self) -> String {
        "a table that answers at once".to_owned()
    }
}
