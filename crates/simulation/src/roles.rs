//! The roles of a world: the consumers, the dead-letter handler and the producers, as the binaries run them.

use std::sync::Arc;
use std::time::Duration;

use ecom_bus::{Bus, Publisher, SubscribeOptions};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::role;
use ecom_pipeline::concurrency_limit::ConcurrencyBounds;
use ecom_pipeline::consume::{ConsumerSettings, consume};
use ecom_pipeline::dead_letter_intake::DeadLetterIntake;
use ecom_pipeline::dead_letter_publisher::DeadLetterPublisher;
use ecom_pipeline::durable::RoleError;
use ecom_pipeline::early_payments::EarlyPaymentSettings;
use ecom_pipeline::handler::Handler;
use ecom_pipeline::order_locks::OrderLocks;
use ecom_pipeline::orders::Orders;
use ecom_pipeline::payments::Payments;
use ecom_pipeline::produce::{OutgoingEvent, ProducerSettings, produce};
use ecom_pipeline::retries;
use ecom_pipeline::retry_queue::RetryQueue;
use ecom_pipeline::stop_conditions::StopConditions;
use ecom_scenario::Manifest;
use ecom_telemetry::metrics::RoleMetrics;
use futures_util::stream;
use tokio_util::sync::CancellationToken;

use crate::faults::FaultRates;
use crate::world::{Process, Role, World, actor};

impl World {
    async fn consume<H: Handler>(
        &self,
        process: &Process,
        handler: Arc<H>,
        topic: &str,
        early_payments: Option<EarlyPaymentSettings>,
        metrics: Arc<RoleMetrics>,
    ) -> Result<(), RoleError> {
        let options = SubscribeOptions {
            streams: ecom_bus::Streams::Fixed(1),
            max_outstanding: 64,
            buffer: 4,
            ack_deadline: Duration::from_secs(10),
            idle_rotation: None,
        };
        let subscription = process.bus.subscribe(&format!("{topic}-sub"), options).await;
        let settings = ConsumerSettings {
            subscription: Arc::new(subscription.expect("a simulated topic can be received from")),
            source: format!("{topic}-sub"),
            concurrency: ConcurrencyBounds::new(4, 4),
            early_payments,
            stop_conditions: StopConditions::default(),
            metrics: Arc::clone(&metrics),
            stop: process.bus.stop.clone(),
        };
        consume(handler, settings).await?;
        let in_flight = metrics.in_flight.get();
        if in_flight != 0 {
            self.broker.violation(format!("{topic}: stopped with {in_flight} in flight"));
        }
        Ok(())
    }

    async fn dead_letter_publisher(
        &self,
        process: &Process,
        kind: EventKind,
        source: &str,
        metrics: &Arc<RoleMetrics>,
    ) -> DeadLetterPublisher {
        let publisher = process.bus.publisher("dead_letters", 64).await;
        DeadLetterPublisher {
            publisher: publisher.expect("a simulated topic can be published to"),
            kind,
            subscription: source.to_owned(),
            clock: self.skewed(),
            metrics: Arc::clone(metrics),
        }
    }

    /// Runs one process of a role until it is stopped.
    ///
    /// # Errors
    /// The store refused a statement.
    pub async fn run(self: Arc<Self>, role: Role, process: Process) -> Result<(), RoleError> {
        match role {
            Role::Orders => {
                let (metrics, retrier) = self.retrier(role::Role::OrderConsumer);
                let dead_letters =
                    self.dead_letter_publisher(&process, EventKind::Order, "orders-sub", &metrics).await;
                let handler = Arc::new(Orders { facts: process.store.clone(), dead_letters, retrier });
                self.consume(&process, handler, "orders", None, metrics).await
            }
            Role::Payments => {
                let (metrics, retrier) = self.retrier(role::Role::PaymentConsumer);
                let dead_letters =
                    self.dead_letter_publisher(&process, EventKind::Payment, "payments-sub", &metrics).await;
                let facts = process.store.clone();
                let handler = Arc::new(Payments { facts, dead_letters, retrier, locks: OrderLocks::new() });
                let early_payments = Some(self.conditions.early_payments);
                self.consume(&process, handler, "payments", early_payments, metrics).await
            }
            Role::Handler => self.handle_dead_letters(&process).await,
            Role::Operator => self.operate(&process).await,
        }
    }

    async fn handle_dead_letters(&self, process: &Process) -> Result<(), RoleError> {
        let (metrics, retrier) = self.retrier(role::Role::DlqHandler);
        let (retry_queue, queued) = RetryQueue::channel();
        let resolver = self.resolver(&process.store, self.skewed(), Arc::clone(&retrier));
        let handler = Arc::new(DeadLetterIntake {
            dead_letter_store: process.store.clone(),
            retrier,
            retry_queue: retry_queue.clone(),
            actor: actor(),
        });
        let retries_stop = CancellationToken::new();
        let recording = async {
            let recorded = self.consume(process, handler, "dead_letters", None, metrics).await;
            retries_stop.cancel();
            recorded
        };
        let retrying = retries::run(&resolver, retry_queue, queued, retries_stop.clone());
        tokio::try_join!(retrying, recording).map(drop)
    }

    async fn publish(&self, manifest: &Manifest, kind: EventKind, topic: &str) {
        let (metrics, retrier) = self.retrier(role::Role::producer_of(kind));
        // A producer that is killed has not published its manifest.
        let rates = FaultRates { killed: 0.0, frozen: 0.0, refused: 0.0, ..self.conditions.rates };
        let process = self.process(&self.injector("producer", rates), &CancellationToken::new());
        let publisher = process.bus.publisher(topic, 16).await;
        let publisher: Arc<dyn Publisher> = publisher.expect("a simulated topic can be published to");
        let settings = ProducerSettings {
            publisher,
            topic: kind.into(),
            max_outstanding: 16,
            rate: Some(150.0),
            retrier,
            metrics,
            clock: self.producer_clock(),
            entropy: Arc::clone(&self.entropy),
            stop: CancellationToken::new(),
            acknowledged_to: Arc::default(),
        };
        let events = manifest.events(kind).expect("a plan has events");
        let outgoing = events.map(|planned| OutgoingEvent { body: planned.body, event: planned.event });
        let produced = produce(&settings, stream::iter(outgoing)).await;
        produced.expect("a simulated topic refuses nothing");
    }

    /// Publishes all orders and payments of a scenario.
    pub async fn publish_all(&self, manifest: &Manifest) {
        tokio::join!(
            self.publish(manifest, EventKind::Order, "orders"),
            self.publish(manifest, EventKind::Payment, "payments"),
        );
    }
}
