//! The long-running roles: from connected ports and settings to a future. The binaries and the demo run the
//! same.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::admin::run_with_admin;
use super::cli::ConsumerArgs;
use super::config::{self, Config, DeliveryTiming};
use super::context::Context;
use super::exit::{CliError, Exit};
use super::heartbeats::run_with_heartbeat;
use super::preflight::{failed_on_bus, publisher};
use super::role_handle::RoleHandle;
use super::setup::{self, Rights};
use super::shutdown::{close, run_until_drained};
use super::startup::Startup;
use super::summary::summarise;
use super::wiring::{self, DataFolder, Store};
use ecom_bus::{Bus, Publisher, Streams, SubscribeOptions};
use ecom_clock::{Clock, Entropy};
use ecom_config::DeadLettersConfig;
use ecom_domain::backoff::Backoff;
use ecom_domain::dead_letter::EventKind;
use ecom_domain::role::Role;
use ecom_pipeline::actor::Actor;
use ecom_pipeline::concurrency_limit::ConcurrencyBounds;
pub(crate) use ecom_pipeline::concurrency_limit::START;
use ecom_pipeline::consume::{ConsumerSettings, consume};
use ecom_pipeline::dead_letter_gauges;
use ecom_pipeline::dead_letter_intake::DeadLetterIntake;
use ecom_pipeline::dead_letter_publisher::DeadLetterPublisher;
use ecom_pipeline::dead_letter_resolver::DeadLetterResolver;
use ecom_pipeline::early_payments::EarlyPaymentSettings;
use ecom_pipeline::handler::Handler;
use ecom_pipeline::order_locks::OrderLocks;
use ecom_pipeline::orders::Orders;
use ecom_pipeline::payments::Payments;
use ecom_pipeline::retries;
use ecom_pipeline::retry_policy::RetryPolicy;
use ecom_pipeline::retry_queue::RetryQueue;
use ecom_pipeline::stop_conditions::StopConditions;

/// The lowest concurrency limit of the dead-letter intake, which is not the hot path.
const DEAD_LETTER_CONCURRENCY: usize = 64;

/// The dependencies of a role.
#[derive(Clone)]
pub(crate) struct RoleDeps {
    /// The bus.
    pub(crate) bus: Arc<dyn Bus>,
    /// The store.
    pub(crate) store: Store,
    /// The settings.
    pub(crate) config: Arc<Config>,
    /// Wall time.
    pub(crate) clock: Clock,
    /// Jitter.
    pub(crate) entropy: Arc<Entropy>,
    /// End a consumer without a stop signal.
    pub(crate) stop_conditions: StopConditions,
    /// The calls of bus and store before the role receives.
    pub(crate) startup: Startup,
    /// Once cancelled, the role drains and ends.
    pub(crate) stop: CancellationToken,
}

impl RoleDeps {
    /// Connects bus and store.
    pub(crate) async fn connect(
        context: &Context,
        stop_conditions: StopConditions,
    ) -> Result<Self, CliError> {
        let (bus, store) = wiring::both(context, DataFolder::Create).await?;
        Ok(Self {
            bus,
            store,
            config: Arc::new(context.config.clone()),
            clock: context.clock,
            entropy: Arc::clone(&context.entropy),
            stop_conditions,
            startup: context.startup.clone(),
            stop: context.stop.clone(),
        })
    }

    /// Consumes the events of a kind until stopped or a stop condition is met.
    pub(crate) async fn consume_events(&self, kind: EventKind, handle: &RoleHandle) -> Result<(), CliError> {
        let source = self.config.bus.subscriptions.of(kind);
        let dead_letters = self.dead_letter_publisher(kind, source, handle).await?;
        let (facts, retrier) = (Arc::clone(&self.store.facts), Arc::clone(&handle.retrier));
        match kind {
            EventKind::Order => {
                let handler = Orders { facts, dead_letters, retrier };
                self.consume(handler, source, START, None, handle).await
            }
            EventKind::Payment => {
                let handler = Payments { facts, dead_letters, retrier, locks: OrderLocks::new() };
                self.consume(handler, source, START, self.early_payments(), handle).await
            }
        }
    }

    /// Records dead letters until stopped or a stop condition is met; those that wait go to `retry_queue`.
    pub(crate) async fn dead_letter_intake(
        &self,
        handle: &RoleHandle,
        actor: Actor,
        retry_queue: RetryQueue,
    ) -> Result<(), CliError> {
        let handler = DeadLetterIntake {
            dead_letter_store: Arc::clone(&self.store.dead_letter_store),
            retrier: Arc::clone(&handle.retrier),
            retry_queue,
            actor,
        };
        let source = &self.config.bus.subscriptions.dead_letters;
        self.consume(handler, source, DEAD_LETTER_CONCURRENCY, None, handle).await
    }

    /// Records dead letters and retries those that wait, until stopped or a stop condition is met.
    pub(crate) async fn dlq_handler(&self, handle: &RoleHandle, actor: Actor) -> Result<(), CliError> {
        let (retry_queue, queued) = RetryQueue::channel();
        let resolver = self.resolver(handle, actor.clone());
        let retries_stop = CancellationToken::new();
        let recording = async {
            let recorded = self.dead_letter_intake(handle, actor, retry_queue.clone()).await;
            retries_stop.cancel();
            recorded
        };
        let retrying = async {
            let retried = retries::run(&resolver, retry_queue.clone(), queued, retries_stop.clone()).await;
            if retried.is_err() {
                self.stop.cancel();
            }
            retried.map_err(CliError::from)
        };
        let counting = async {
            if let (Some(gauges), Some(_)) = (&handle.dead_letter_gauges, &self.config.admin.listen) {
                let Store { dead_letter_store, operations, .. } = &self.store;
                let (dead_letters, operations) = (dead_letter_store.as_ref(), operations.as_ref());
                dead_letter_gauges::run(dead_letters, operations, gauges, retries_stop.clone()).await;
            }
        };
        let (recorded, retried, ()) = tokio::join!(recording, retrying, counting);
        recorded.and(retried)
    }

    /// Resolves dead letters in the name of `actor`.
    pub(crate) fn resolver(&self, handle: &RoleHandle, actor: Actor) -> DeadLetterResolver {
        DeadLetterResolver {
            facts: Arc::clone(&self.store.facts),
            dead_letter_store: Arc::clone(&self.store.dead_letter_store),
            retrier: Arc::clone(&handle.retrier),
            locks: OrderLocks::new(),
            policy: policy(&self.config.dead_letters),
            clock: self.clock,
            entropy: Arc::clone(&self.entropy),
            actor,
            note: None,
        }
    }

    /// Consumes a subscription with a handler.
    pub(crate) async fn consume(
        &self,
        handler: impl Handler,
        source: &str,
        least: usize,
        early_payments: Option<EarlyPaymentSettings>,
        handle: &RoleHandle,
    ) -> Result<(), CliError> {
        let config = &self.config;
        let concurrency = ConcurrencyBounds::new(least, config.consumer.max_in_flight);
        let DeliveryTiming { ack_deadline, stream_idle_rotation } = config::delivery_timing(config)?;
        let options = SubscribeOptions {
            streams: config.consumer.streams.map_or(Streams::Automatic, Streams::Fixed),
            max_outstanding: concurrency.most + early_payments.map_or(0, |settings| settings.limit),
            buffer: concurrency.least,
            ack_deadline,
            idle_rotation: stream_idle_rotation,
        };
        let subscribe = async || self.bus.subscribe(source, options).await.map_err(failed_on_bus);
        let subscription = Arc::new(self.startup.ask(subscribe).await?);
        handle.watch(&subscription);
        self.startup.complete();
        let settings = ConsumerSettings {
            subscription,
            source: source.to_owned(),
            concurrency,
            early_payments,
            stop_conditions: self.stop_conditions,
            metrics: Arc::clone(&handle.metrics),
            stop: self.stop.clone(),
        };
        Ok(consume(Arc::new(handler), settings).await?)
    }

    fn early_payments(&self) -> Option<EarlyPaymentSettings> {
        let consumer = &self.config.consumer;
        consumer.order_grace.map(|grace| EarlyPaymentSettings {
            grace,
            limit: consumer.early_payment_limit,
            bytes: consumer.early_payment_bytes,
        })
    }

    /// Returns the publisher of what a consumer publishes on a topic.
    pub(crate) async fn publisher(&self, topic: &str) -> Result<Arc<dyn Publisher>, CliError> {
        let max_outstanding = self.config.consumer.max_in_flight * 2;
        publisher(&self.startup, self.bus.as_ref(), topic, max_outstanding).await
    }

    /// Returns the publisher of the dead letters of a source subscription.
    pub(crate) async fn dead_letter_publisher(
        &self,
        kind: EventKind,
        source: &str,
        handle: &RoleHandle,
    ) -> Result<DeadLetterPublisher, CliError> {
        Ok(DeadLetterPublisher {
            publisher: self.publisher(&self.config.bus.topics.dead_letters).await?,
            kind,
            subscription: source.to_owned(),
            clock: self.clock,
            metrics: Arc::clone(&handle.metrics),
        })
    }
}

/// The retry policy of the configuration.
pub(crate) fn policy(settings: &DeadLettersConfig) -> RetryPolicy {
    RetryPolicy {
        backoff: Backoff::try_new(settings.first_retry, settings.max_backoff).unwrap_or(Backoff::IN_PLACE),
        max_age: settings.max_age,
        sweep_interval: settings.sweep_interval,
        retention: settings.retention,
        capacity: RetryPolicy::CAPACITY,
    }
}

/// Runs the consumer of a kind of events: `order_consumer` or `payment_consumer`.
pub(crate) async fn run_consumer(
    context: Context,
    args: &ConsumerArgs,
    kind: EventKind,
) -> Result<Exit, CliError> {
    if context.common.check {
        return setup::check(&context, Rights::Of(Role::consumer_of(kind).into())).await;
    }
    let context = context.of_role();
    let handle = RoleHandle::new(Role::consumer_of(kind), &context);
    let consumer = async {
        let deps = RoleDeps::connect(&context, args.bounds.bounds()).await?;
        supervise(&context, &deps, &handle, deps.consume_events(kind, &handle)).await
    };
    run_with_admin(&context, &[&handle], consumer).await
}

/// Runs a role with heartbeats until it has ended or drained, closes the bus, and prints the summary.
pub(crate) async fn supervise(
    context: &Context,
    deps: &RoleDeps,
    handle: &RoleHandle,
    role: impl Future<Output = Result<(), CliError>>,
) -> Result<Exit, CliError> {
    let role = run_with_heartbeat(handle, deps.clock, &deps.store.operations, role);
    let outcome = run_until_drained(context, handle, role).await;
    close(deps.bus.as_ref()).await;
    summarise(context, handle)?;
    outcome.map(|()| Exit::Done)
}
