//! The trace of an event: from its publishing to its row, and over the dead-letter topic to its recording and its retry. In a
//! process of its own, which starts traces once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fixture/bus.rs"]
mod bus;
#[path = "fixture/resolver.rs"]
mod resolver;

use std::sync::Arc;

use bus::{Topic, subscription};
use ecom_bus::{Message, ReceivedMessage};
use ecom_clock::{Clock, Entropy};
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterState, EventKind};
use ecom_domain::role::Role;
use ecom_pipeline::actor::Actor;
use ecom_pipeline::concurrency_limit::ConcurrencyBounds;
use ecom_pipeline::consume::{ConsumerSettings, consume};
use ecom_pipeline::dead_letter_intake::DeadLetterIntake;
use ecom_pipeline::dead_letter_publisher::DeadLetterPublisher;
use ecom_pipeline::dead_letter_resolver::{AttemptResult, AttemptTrigger};
use ecom_pipeline::durable::Retrier;
use ecom_pipeline::handler::Handler;
use ecom_pipeline::order_locks::OrderLocks;
use ecom_pipeline::orders::Orders;
use ecom_pipeline::payments::Payments;
use ecom_pipeline::produce::{OutgoingEvent, ProducerSettings, produce};
use ecom_pipeline::retry_queue::RetryQueue;
use ecom_pipeline::stop_conditions::StopConditions;
use ecom_store::DeadLetterStore;
use ecom_store::Scan;
use ecom_store::memory::MemoryStore;
use ecom_telemetry::metrics::{RoleMetrics, Topic as TopicLabel};
use ecom_telemetry::traces::testing::{CollectedSpan, CollectedSpans};
use futures_util::{StreamExt, stream};
use resolver::resolver;
use tokio_util::sync::CancellationToken;

/// The time of everything, in microseconds since the epoch.
const T: i64 = 1_705_831_290_000_000;
const SENTINEL: &str = "1 Sentinel Street";
/// A trace of another publisher, sampled or not.
const FOREIGN: [&str; 2] = [
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
];

fn order(id: i64) -> String {
    format!(
        "{{\"order_id\":{id},\"customer_id\":4242,\"item\":\"Laptop\",\"quantity\":2,\"price\":9.5,\
         \"shipping_address\":\"{SENTINEL}\",\"order_status\":\"Shipped\",\"creation_date\":\"today\"}}"
    )
}

fn payment(id: i64, order_id: i64) -> String {
    format!(
        "{{\"payment_id\":{id},\"order_id\":{order_id},\"payment_method\":\"Sentinel Card\",\"card_last_four\":\"9876\",\
         \"payment_status\":\"Completed\",\"payment_datetime\":\"today\"}}"
    )
}

fn retrier(role: Role) -> (Arc<Retrier>, Arc<RoleMetrics>) {
    let metrics = Arc::new(RoleMetrics::new(role));
    (Arc::new(Retrier::new(Arc::new(Entropy::seeded(1)), Arc::clone(&metrics))), metrics)
}

/// Publishes the bodies; one that is there twice is a duplicate.
async fn published(topic: TopicLabel, bodies: &[&str]) -> Vec<Message> {
    let publisher = Arc::new(Topic::default());
    let (retrier, metrics) = retrier(Role::OrdersProducer);
    let settings = ProducerSettings {
        publisher: publisher.clone(),
        topic,
        max_outstanding: 10,
        rate: None,
        retrier,
        metrics,
        clock: Clock::anchored(T),
        entropy: Arc::new(Entropy::seeded(1)),
        stop: CancellationToken::new(),
        acknowledged_to: Arc::default(),
    };
    let event = |body: &&str| {
        let event = bodies.iter().position(|other| other == body).unwrap() as u64;
        OutgoingEvent { body: (*body).to_owned().into(), event }
    };
    produce(&settings, stream::iter(bodies.iter().map(event))).await.unwrap();
    publisher.messages()
}

/// Consumes the messages, whose ids are their places from 1.
async fn consumed(messages: &[Message], source: &str, handler: impl Handler, metrics: Arc<RoleMetrics>) {
    let received = messages.iter().zip(1..).map(|(message, id): (_, i64)| ReceivedMessage {
        message: message.clone(),
        id: id.to_string(),
        publish_time_us: T + id * 1_000,
        attempt: 1,
    });
    let settings = ConsumerSettings {
        subscription: subscription(received).await,
        source: source.to_owned(),
        concurrency: ConcurrencyBounds::new(16, 16),
        early_payments: None,
        stop_conditions: StopConditions { count: Some(messages.len() as u64), ..StopConditions::default() },
        metrics,
        stop: CancellationToken::new(),
    };
    consume(Arc::new(handler), settings).await.unwrap();
}

async fn consume_orders(messages: &[Message], store: &Arc<MemoryStore>) {
    let (retrier, metrics) = retrier(Role::OrderConsumer);
    let dead_letters = dead_letters(EventKind::Order, "orders_data-sub", &metrics).1;
    let handler = Orders { facts: store.clone(), dead_letters, retrier };
    consumed(messages, "orders_data-sub", handler, metrics).await;
}

/// Consumes the messages and returns the dead letters.
async fn consume_payments(messages: &[Message], store: &Arc<MemoryStore>) -> Vec<Message> {
    let (retrier, metrics) = retrier(Role::PaymentConsumer);
    let (topic, dead_letters) = dead_letters(EventKind::Payment, "payments_data-sub", &metrics);
    let handler = Payments { facts: store.clone(), dead_letters, retrier, locks: OrderLocks::new() };
    consumed(messages, "payments_data-sub", handler, metrics).await;
    topic.messages()
}

async fn consume_dead_letters(messages: &[Message], store: &Arc<MemoryStore>) {
    let (retrier, metrics) = retrier(Role::DlqHandler);
    let handler = DeadLetterIntake {
        dead_letter_store: store.clone(),
        retrier,
        retry_queue: RetryQueue::channel().0,
        actor: Actor::new("dlq_handler", "here", "run".to_owned()),
    };
    consumed(messages, "dlq_payments_data-sub", handler, metrics).await;
}

fn dead_letters(
    kind: EventKind,
    subscription: &str,
    metrics: &Arc<RoleMetrics>,
) -> (Arc<Topic>, DeadLetterPublisher) {
    let publisher = Arc::new(Topic::default());
    let dead_letters = DeadLetterPublisher {
        publisher: publisher.clone(),
        kind,
        subscription: subscription.to_owned(),
        clock: Clock::anchored(T),
        metrics: Arc::clone(metrics),
    };
    (publisher, dead_letters)
}

/// Retries every dead letter once and returns their ids.
async fn retry_all(store: &Arc<MemoryStore>, now: i64) -> Vec<DeadLetterId> {
    let dead_letters: Vec<_> = store.dead_letters(Scan::BRIEF).collect().await;
    let ids: Vec<_> = dead_letters.into_iter().map(|record| record.unwrap().dead_letter.id).collect();
    for id in &ids {
        let result = resolver(store, now).attempt(id, AttemptTrigger::Schedule).await.unwrap();
        assert_eq!(result, AttemptResult::Rests(DeadLetterState::Recovered));
    }
    ids
}

fn traceparent(message: &Message) -> &str {
    message.attributes.get("traceparent").unwrap()
}

/// The spans of a trace: name, kind and the name of the parent, in the order in which they ended.
fn tree<'s>(spans: &[&'s CollectedSpan]) -> Vec<(&'s str, &'s str, &'s str)> {
    let name_of = |id: &str| spans.iter().find(|span| span.span_id == id).map_or("", |span| &span.name);
    spans.iter().map(|span| (&*span.name, &*span.kind, name_of(&span.parent_id))).collect()
}

#[tokio::test]
async fn an_event_is_one_trace_from_its_publishing_to_its_row() {
    let (collected, traces) = CollectedSpans::start(1.0);
    let store = Arc::new(MemoryStore::<()>::default());

    // Two orders and a rejected one, applied together, and a duplicate.
    let [first, second] = [1, 2].map(order);
    let invalid = order(3).replace("\"quantity\":2", "\"quantity\":0");
    let orders = published(TopicLabel::Orders, &[&first, &second, &invalid, &first]).await;
    assert_eq!(orders[0].attributes, orders[3].attributes, "a duplicate has the trace of its event");
    consume_orders(&orders[..3], &store).await;

    // A payment of the first order, and one of an order that comes later.
    let payments = published(TopicLabel::Payments, &[&payment(1, 1), &payment(2, 4)]).await;
    let letters = consume_payments(&payments, &store).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(traceparent(&letters[0]), traceparent(&payments[1]), "a dead letter keeps its trace");
    consume_dead_letters(&letters, &store).await;
    let late = published(TopicLabel::Orders, &[&order(4)]).await;
    consume_orders(&late, &store).await;
    let ids = retry_all(&store, T + 60_000_000).await;

    // Messages of other publishers: sampled, not sampled, and without a trace.
    let foreign =
        [Some(FOREIGN[0]), Some(FOREIGN[1]), None].into_iter().zip(5..).map(|(trace, id)| Message {
            body: payment(id, 77).into(),
            attributes: trace.map(|trace| ("traceparent", trace)).into_iter().collect(),
        });
    let letters = consume_payments(&Vec::from_iter(foreign), &store).await;
    assert_eq!(letters.len(), 3);
    for (trace, letter) in FOREIGN.iter().zip(&letters) {
        assert_eq!(traceparent(letter), *trace, "the trace of another publisher is kept");
    }

    let spans = collected.finish(traces);
    let of = |traceparent: &str| -> Vec<&CollectedSpan> {
        spans.iter().filter(|span| traceparent.contains(&span.trace_id)).collect()
    };
    for (message, id) in orders[..2].iter().zip(1..) {
        let trace = of(traceparent(message));
        assert_eq!(
            tree(&trace),
            [
                ("publish orders_data", "Producer", ""),
                ("record_order", "Client", "process orders_data-sub"),
                ("process orders_data-sub", "Consumer", "publish orders_data"),
            ]
        );
        let [publish, write, process] = trace[..] else { panic!("three") };
        assert!(traceparent(message).ends_with(&format!("-{}-01", publish.span_id)), "{publish:?}");
        let attributes = [
            ("messaging.system", "gcp_pubsub"),
            ("messaging.operation.type", "process"),
            ("messaging.destination.name", "orders_data-sub"),
            ("messaging.message.id", &id.to_string()),
            ("messaging.gcp_pubsub.message.delivery_attempt", "1"),
            ("order.id", &id.to_string()),
            ("disposition", "applied"),
        ];
        for (name, value) in attributes {
            assert_eq!(process.attribute(name), Some(value), "{name}");
        }
        assert_eq!(write.attribute("db.system.name"), Some("cassandra"));
        assert_eq!(write.attribute("db.operation.name"), Some("record_order"));
        assert_eq!(publish.attribute("messaging.message.id"), Some("1"));
    }
    assert_eq!(
        tree(&of(traceparent(&orders[2]))),
        [
            ("publish orders_data", "Producer", ""),
            ("publish dlq_payments_data", "Producer", "process orders_data-sub"),
            ("process orders_data-sub", "Consumer", "publish orders_data"),
        ],
        "a rejected order is not written, though its group is"
    );
    assert_eq!(
        tree(&of(traceparent(&payments[0]))),
        [
            ("publish payments_data", "Producer", ""),
            ("payment_slot", "Client", "process payments_data-sub"),
            ("record_payment", "Client", "process payments_data-sub"),
            ("process payments_data-sub", "Consumer", "publish payments_data"),
        ]
    );
    let late = of(traceparent(&payments[1]));
    assert_eq!(
        tree(&late),
        [
            ("publish payments_data", "Producer", ""),
            ("payment_slot", "Client", "process payments_data-sub"),
            ("publish dlq_payments_data", "Producer", "process payments_data-sub"),
            ("process payments_data-sub", "Consumer", "publish payments_data"),
            ("record_dead_letter", "Client", "process dlq_payments_data-sub"),
            ("process dlq_payments_data-sub", "Consumer", "publish payments_data"),
            ("apply_update", "Client", "retry"),
            ("payment_slot", "Client", "retry"),
            ("record_payment", "Client", "retry"),
            ("payment_slot", "Client", "retry"),
            ("apply_update", "Client", "retry"),
            ("retry", "Internal", "publish payments_data"),
        ]
    );
    let retry = late.last().unwrap();
    let attributes = ["trigger", "dead_letter.id", "state"].map(|name| retry.attribute(name).unwrap());
    assert_eq!(attributes, ["schedule", ids.last().unwrap().as_str(), "recovered"]);

    assert_eq!(of(FOREIGN[0]).len(), 3);
    assert_eq!(of(FOREIGN[1]).len(), 0, "a trace that is not sampled has no spans");
    let own = of(traceparent(&letters[2]));
    assert_eq!(own.last().unwrap().parent_id, "0000000000000000");
    assert_eq!(own.len(), 3, "a trace that begins with its delivery goes on with its dead letter");

    let written = format!("{spans:?}");
    for secret in ["Sentinel", "4242", "9876", "Laptop", "Completed", "9.5"] {
        assert!(!written.contains(secret), "a span quotes a body: {secret}");
    }
    assert!(spans.iter().all(|span| !span.is_error));
    // Nothing is left that is no trace of a message.
    assert_eq!(spans.len(), 3 * 2 + 3 + 4 + 12 + 3 + 3 + 3);
}
