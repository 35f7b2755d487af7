//! The `delivery` span, as a subscriber at DEBUG level receives it. In a separate process, because the interest
//! of other tests' subscribers is cached per callsite.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fixture/bus.rs"]
mod bus;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bus::{Topic, subscription};
use bytes::Bytes;
use ecom_bus::{Attributes, Message, ReceivedMessage};
use ecom_clock::{Clock, Entropy};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::OrderId;
use ecom_domain::role::Role;
use ecom_pipeline::concurrency_limit::ConcurrencyBounds;
use ecom_pipeline::consume::{ConsumerSettings, consume};
use ecom_pipeline::dead_letter_publisher::DeadLetterPublisher;
use ecom_pipeline::durable::Retrier;
use ecom_pipeline::orders::Orders;
use ecom_pipeline::stop_conditions::StopConditions;
use ecom_store::StoreError;
use ecom_store::memory::{Interceptor, MemoryStore, Tables, Write};
use ecom_telemetry::metrics::RoleMetrics;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::format::FmtSpan;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ORDER: &str = r#"{"order_id":7,"customer_id":1,"item":"a","quantity":1,"price":1.5,"shipping_address":"b","order_status":"c","creation_date":"d"}"#;
/// The order on whose write the store panics.
const BROKEN: i64 = 8;

struct Broken;

#[async_trait]
impl Interceptor for Broken {
    async fn write(&self, _: &'static str, tables: &Mutex<Tables>, write: Write) -> Result<(), StoreError> {
        let mut tables = tables.lock().unwrap();
        write(&mut tables);
        assert!(!tables.facts.contains_key(&OrderId(BROKEN)), "cannot write this order");
        Ok(())
    }
}

/// The lines of a log.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Consumes orders with these bodies, with ids from 0.
async fn consume_orders(bodies: &[String]) -> Arc<Topic> {
    let messages = bodies.iter().enumerate().map(|(id, body)| {
        let attributes = Attributes::from_iter([("traceparent", TRACE)]);
        let message = Message { body: Bytes::from(body.clone()), attributes };
        ReceivedMessage { message, id: id.to_string(), publish_time_us: 1, attempt: 2 }
    });
    let subscription = subscription(messages).await;
    let metrics = Arc::new(RoleMetrics::new(Role::OrderConsumer));
    let topic = Arc::new(Topic::default());
    let handler = Orders {
        facts: Arc::new(MemoryStore::new(Broken, Tables::default())),
        dead_letters: DeadLetterPublisher {
            publisher: topic.clone(),
            kind: EventKind::Order,
            subscription: "orders-sub".to_owned(),
            clock: Clock::System,
            metrics: Arc::clone(&metrics),
        },
        retrier: Arc::new(Retrier::new(Arc::new(Entropy::seeded(1)), Arc::clone(&metrics))),
    };
    let settings = ConsumerSettings {
        subscription,
        source: "orders-sub".to_owned(),
        concurrency: ConcurrencyBounds::new(1, 1),
        early_payments: None,
        stop_conditions: StopConditions { count: Some(bodies.len() as u64), ..StopConditions::default() },
        metrics,
        stop: CancellationToken::new(),
    };
    consume(Arc::new(handler), settings).await.unwrap();
    topic
}

#[tokio::test(start_paused = true)]
async fn a_span_covers_each_delivery_and_its_trace_goes_on_with_the_dead_letter() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let broken = ORDER.replace("\"order_id\":7", &format!("\"order_id\":{BROKEN}"));
    let topic = consume_orders(&[ORDER.to_owned(), "{".to_owned(), broken]).await;

    let written = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    let closed: Vec<&str> = written.lines().filter(|line| line.contains(" close ")).collect();
    let fields = [
        "order.id=7 disposition=\"applied\"}",
        "disposition=\"dead_lettered\"}",
        "order.id=8 disposition=\"dead_lettered\"}",
    ];
    assert_eq!(closed.len(), fields.len(), "{written}");
    for (id, (line, last)) in closed.into_iter().zip(fields).enumerate() {
        let first = format!(
            "delivery{{subscription=\"orders-sub\" message.id=\"{id}\" attempt=2 traceparent=\"{TRACE}\" {last}"
        );
        assert!(line.contains(&first), "{first}: {line}");
    }
    let panicked: Vec<&str> = written.lines().filter(|line| line.contains("the handler panicked")).collect();
    assert_eq!(panicked.len(), 1, "an error is logged once: {written}");
    assert!(panicked[0].contains("message.id=\"2\""), "{}", panicked[0]);
    let published = topic.messages();
    let traces: Vec<_> = published.iter().map(|message| message.attributes.get("traceparent")).collect();
    assert_eq!(traces, [Some(TRACE); 2]);
}
