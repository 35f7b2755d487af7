//! The long-running roles: ports and settings to a future. The binaries and the demo run the same.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::admin;
use super::cli::ConsumerArgs;
use super::config::{self, Config, DeliveryTiming};
use super::context::Context;
use super::exit::{CliError, Exit};
use super::heartbeats;
use super::setup;
use super::wiring::{self, DataFolder, Store};
use ecom_bus::{Bus, Streams, SubscribeOptions, Subscription, TopicState};
use ecom_clock::{Clock, Entropy};
use ecom_config::DeadLettersConfig;
use ecom_domain::backoff::Backoff;
use ecom_domain::dead_letter::EventKind;
use ecom_pipeline::concurrency_limit::{ConcurrencyBounds, START};
use ecom_pipeline::consume::{ConsumerSettings, StopConditions, consume};
use ecom_pipeline::dead_letter_gauges;
use ecom_pipeline::dead_letter_intake::{Actor, DeadLetterIntake};
use ecom_pipeline::dead_letter_publisher::DeadLetterPublisher;
use ecom_pipeline::dead_letter_resolver::DeadLetterResolver;
use ecom_pipeline::durable::Retrier;
use ecom_pipeline::early_payments::EarlyPaymentSettings;
use ecom_pipeline::order_locks::OrderLocks;
use ecom_pipeline::orders::Orders;
use ecom_pipeline::payments::Payments;
use ecom_pipeline::retries::{self, RetryPolicy, RetryQueue};
use ecom_pipeline::summary::Summary;
use ecom_telemetry::metrics::{DeadLetterGauges, RoleMetrics};

/// Dead letters recorded at once: the dead-letter store is not the hot path.
const DEAD_LETTER_WORKERS: usize = 64;

/// How long a bus may take to be closed, after everything was settled.
const CLOSE: Duration = Duration::from_secs(2);

/// What a role stands on.
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
    /// When the run ends by itself.
    pub(crate) bounds: StopConditions,
    /// Cancelled = drain and end.
    pub(crate) stop: CancellationToken,
}

/// One role's counters and its way through outages.
#[derive(Clone)]
pub(crate) struct RoleHandle {
    /// What it counts.
    pub(crate) metrics: Arc<RoleMetrics>,
    /// How it waits out outages.
    pub(crate) retrier: Arc<Retrier>,
    /// What it shows of the dead-letter store, where it is the one that handles it.
    pub(crate) dead_letter_store: Option<Arc<DeadLetterGauges>>,
    /// What it receives from, while it does.
    receiving: Arc<Mutex<Weak<Subscription>>>,
}

impl RoleHandle {
    /// Fresh ones for a role.
    pub(crate) fn new(role: &'static str, entropy: &Arc<Entropy>) -> Self {
        let metrics = Arc::new(RoleMetrics::new(role));
        let retrier = Arc::new(Retrier::new(Arc::clone(entropy), Arc::clone(&metrics)));
        Self { metrics, retrier, dead_letter_store: None, receiving: Arc::default() }
    }

    /// The same, for the role that shows what the dead-letter store holds.
    pub(crate) fn with_dead_letter_gauges(self, clock: Clock) -> Self {
        Self { dead_letter_store: Some(Arc::new(DeadLetterGauges::new(move || clock.now_us()))), ..self }
    }

    /// Notes what the role receives from, for its readiness.
    fn receives(&self, subscription: &Arc<Subscription>) {
        *self.receiving.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(subscription);
    }

    /// Whether the last call of bus or store failed, or the bus hands out nothing.
    pub(crate) fn in_outage(&self) -> bool {
        let receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        self.retrier.in_outage() || receiving.is_some_and(|subscription| !subscription.answers())
    }
}

impl RoleDeps {
    /// The site of a command: both ports connected.
    pub(crate) async fn connect(context: &Context, bounds: StopConditions) -> Result<Self, CliError> {
        let (bus, store) = wiring::both(context, DataFolder::Create).await?;
        Ok(Self {
            bus,
            store,
            config: Arc::new(context.config.clone()),
            clock: context.clock,
            entropy: Arc::clone(&context.entropy),
            bounds,
            stop: context.stop.clone(),
        })
    }

    async fn subscribe(
        &self,
        subscription: &str,
        concurrency: ConcurrencyBounds,
        buffered: usize,
    ) -> Result<Arc<Subscription>, CliError> {
        let config = &self.config;
        let DeliveryTiming { ack_deadline, stream_idle_rotation } = config::delivery_timing(config)?;
        let options = SubscribeOptions {
            streams: config.consumer.streams.map_or(Streams::Automatic, Streams::Fixed),
            max_outstanding: concurrency.most + buffered,
            buffer: concurrency.least,
            ack_deadline,
            idle_rotation: stream_idle_rotation,
        };
        let subscribed = self.bus.subscribe(subscription, options).await.map_err(missing_on_bus)?;
        Ok(Arc::new(subscribed))
    }

    /// From so many deliveries at once to as many as are allowed.
    fn concurrency(&self, least: usize) -> ConcurrencyBounds {
        ConcurrencyBounds::from(least, self.config.consumer.max_in_flight)
    }

    async fn dead_letter_publisher(
        &self,
        kind: EventKind,
        source: &str,
        handle: &RoleHandle,
    ) -> Result<DeadLetterPublisher, CliError> {
        let topic = &self.config.bus.topics.dead_letters;
        require_subscription(self.bus.as_ref(), topic).await?;
        let concurrency = self.config.consumer.max_in_flight * 2;
        Ok(DeadLetterPublisher {
            publisher: self.bus.publisher(topic, concurrency).await.map_err(missing_on_bus)?,
            kind,
            subscription: source.to_owned(),
            clock: self.clock,
            metrics: Arc::clone(&handle.metrics),
        })
    }

    /// Records orders until stopped or bounded.
    pub(crate) async fn order_consumer(&self, handle: &RoleHandle) -> Result<(), CliError> {
        let source = &self.config.bus.subscriptions.orders;
        let concurrency = self.concurrency(START);
        let handler = Arc::new(Orders {
            facts: Arc::clone(&self.store.facts),
            dead_letters: self.dead_letter_publisher(EventKind::Order, source, handle).await?,
            retrier: Arc::clone(&handle.retrier),
        });
        let subscription = self.subscribe(source, concurrency, 0).await?;
        Ok(consume(handler, self.consume(subscription, concurrency, None, handle)).await?)
    }

    /// Joins payments until stopped or bounded.
    pub(crate) async fn payment_consumer(&self, handle: &RoleHandle) -> Result<(), CliError> {
        let source = &self.config.bus.subscriptions.payments;
        let consumer = &self.config.consumer;
        let concurrency = self.concurrency(START);
        let hold = consumer.order_grace.map(|grace| EarlyPaymentSettings {
            grace,
            limit: consumer.early_payment_limit,
            bytes: consumer.early_payment_bytes,
        });
        let handler = Arc::new(Payments {
            facts: Arc::clone(&self.store.facts),
            dead_letters: self.dead_letter_publisher(EventKind::Payment, source, handle).await?,
            retrier: Arc::clone(&handle.retrier),
            locks: OrderLocks::new(),
        });
        let buffered = hold.map_or(0, |hold| hold.limit);
        let subscription = self.subscribe(source, concurrency, buffered).await?;
        Ok(consume(handler, self.consume(subscription, concurrency, hold, handle)).await?)
    }

    /// Records dead letters; what waits is announced to `retry_queue`.
    pub(crate) async fn dead_letter_intake(
        &self,
        handle: &RoleHandle,
        actor: Actor,
        retry_queue: RetryQueue,
    ) -> Result<(), CliError> {
        let source = &self.config.bus.subscriptions.dead_letters;
        let concurrency = self.concurrency(DEAD_LETTER_WORKERS);
        let handler = Arc::new(DeadLetterIntake {
            dead_letter_store: Arc::clone(&self.store.dead_letter_store),
            retrier: Arc::clone(&handle.retrier),
            retry_queue,
            actor,
        });
        let subscription = self.subscribe(source, concurrency, 0).await?;
        Ok(consume(handler, self.consume(subscription, concurrency, None, handle)).await?)
    }

    /// What settles dead letters.
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

    /// Records dead letters and retries what waits, until stopped or bounded.
    pub(crate) async fn dlq_handler(&self, handle: &RoleHandle, actor: Actor) -> Result<(), CliError> {
        let (retry_queue, queued) = RetryQueue::channel();
        let resolver = self.resolver(handle, actor.clone());
        let retries_stop = CancellationToken::new();
        let recording = async {
            let recorded = self.dead_letter_intake(handle, actor, retry_queue.clone()).await;
            retries_stop.cancel();
            recorded
        };
        let retrier = async {
            let retried = retries::run(&resolver, retry_queue.clone(), queued, retries_stop.clone()).await;
            if retried.is_err() {
                self.stop.cancel();
            }
            retried.map_err(CliError::from)
        };
        let counting = async {
            if let (Some(dead_letter_store), Some(_)) = (&handle.dead_letter_store, &self.config.admin.listen)
            {
                let Store { dead_letter_store: dead_letters, operations, .. } = &self.store;
                dead_letter_gauges::run(
                    dead_letters.as_ref(),
                    operations.as_ref(),
                    dead_letter_store,
                    retries_stop.clone(),
                )
                .await;
            }
        };
        let (recorded, retried, ()) = tokio::join!(recording, retrier, counting);
        recorded.and(retried)
    }

    fn consume(
        &self,
        subscription: Arc<Subscription>,
        concurrency: ConcurrencyBounds,
        hold: Option<EarlyPaymentSettings>,
        handle: &RoleHandle,
    ) -> ConsumerSettings {
        handle.receives(&subscription);
        ConsumerSettings {
            subscription,
            concurrency,
            hold,
            bounds: self.bounds,
            metrics: Arc::clone(&handle.metrics),
            stop: self.stop.clone(),
        }
    }
}

/// When dead letters are tried again, by the configuration.
pub(crate) fn policy(settings: &DeadLettersConfig) -> RetryPolicy {
    RetryPolicy {
        backoff: Backoff::try_new(settings.first_retry, settings.max_backoff).unwrap_or(Backoff::IN_PLACE),
        max_age: settings.max_age,
        sweep_interval: settings.sweep_interval,
        retention: settings.retention,
    }
}

/// Runs `order_consumer`.
pub(crate) async fn run_orders(context: Context, args: &ConsumerArgs) -> Result<Exit, CliError> {
    if context.common.check {
        return setup::check(&context).await;
    }
    let handle = RoleHandle::new("order_consumer", &context.entropy);
    let deps = RoleDeps::connect(&context, args.bounds.bounds()).await?;
    supervise(&context, &deps, &handle, deps.order_consumer(&handle)).await
}

/// Runs `payment_consumer`.
pub(crate) async fn run_payments(context: Context, args: &ConsumerArgs) -> Result<Exit, CliError> {
    if context.common.check {
        return setup::check(&context).await;
    }
    let handle = RoleHandle::new("payment_consumer", &context.entropy);
    let deps = RoleDeps::connect(&context, args.bounds.bounds()).await?;
    supervise(&context, &deps, &handle, deps.payment_consumer(&handle)).await
}

/// Runs a role with its admin port until it ends or a signal and the grace period end it; then
/// says what it did.
pub(crate) async fn supervise(
    context: &Context,
    deps: &RoleDeps,
    handle: &RoleHandle,
    role: impl Future<Output = Result<(), CliError>>,
) -> Result<Exit, CliError> {
    let outcome = attended(context, handle, heartbeats::beside(deps, handle, role)).await;
    close(deps.bus.as_ref()).await;
    summarise(context, handle)?;
    outcome.map(|()| Exit::Done)
}

/// Lets go of the bus; one that does not answer is left behind.
pub(crate) async fn close(bus: &dyn Bus) {
    if tokio::time::timeout(CLOSE, bus.close()).await.is_err() {
        tracing::warn!("{} did not answer while it was closed", bus.describe());
    }
}

/// Runs a role beside the admin port, within the grace period once it is to stop.
pub(crate) async fn attended(
    context: &Context,
    handle: &RoleHandle,
    role: impl Future<Output = Result<(), CliError>>,
) -> Result<(), CliError> {
    admin::beside(context, &[handle], within_grace(context, handle, role)).await
}

async fn within_grace(
    context: &Context,
    handle: &RoleHandle,
    role: impl Future<Output = Result<(), CliError>>,
) -> Result<(), CliError> {
    let mut role = std::pin::pin!(role);
    tokio::select! {
        biased;
        outcome = &mut role => return outcome,
        () = context.stop.cancelled() => {}
    }
    let grace = context.config.shutdown.grace_period;
    let shown = humantime::format_duration(grace);
    let in_flight = handle.metrics.in_flight.get();
    eprintln!("draining {in_flight} in flight, up to {shown}; Ctrl-C again to stop now");
    match tokio::time::timeout(grace, role).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let left = handle.metrics.in_flight.get();
            Err(CliError::failed(format!("the grace period of {shown} ran out with {left} in flight"))
                .hint("they were given back to the bus and come again on the next start"))
        }
    }
}

/// Says what the run did: a line for people, and JSON where `--summary` asks for it.
pub(crate) fn summarise(context: &Context, handle: &RoleHandle) -> Result<(), CliError> {
    let summary = Summary::of(&handle.metrics, context.started.elapsed());
    eprintln!("{summary}");
    write_summary(context, &summary)
}

/// Writes what a run did as JSON, where `--summary` asks for it.
pub(crate) fn write_summary(context: &Context, summary: &impl serde::Serialize) -> Result<(), CliError> {
    let Some(path) = &context.common.summary else { return Ok(()) };
    let json = serde_json::to_string(summary)?;
    super::output::to(Some(path), &format!("{json}\n"))
}

/// Refuses a topic on which nobody keeps what is published.
pub(crate) async fn require_subscription(bus: &dyn Bus, topic: &str) -> Result<(), CliError> {
    let started = Instant::now();
    loop {
        let state = match bus.topic_state(topic).await {
            Ok(state) => state,
            Err(error) if error.is_outage() && started.elapsed() < Duration::from_secs(10) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            Err(error) => return Err(missing_on_bus(error)),
        };
        return match state {
            TopicState::Subscribed => Ok(()),
            TopicState::Unknown => {
                tracing::warn!(
                    "this identity may not see whether topic {topic} has a subscription; without one, \
                     what is published there is lost"
                );
                Ok(())
            }
            TopicState::Unsubscribed => Err(CliError::failed(format!(
                "topic {topic} on {} has no subscription: what is published there is lost",
                bus.describe()
            ))
            .hint("create it: ecom_setup, with the same configuration")),
            TopicState::Missing => {
                Err(CliError::failed(format!("topic {topic} does not exist on {}", bus.describe()))
                    .hint("create it: ecom_setup, with the same configuration"))
            }
        };
    }
}

fn missing_on_bus(error: ecom_bus::BusError) -> CliError {
    CliError::failed(error.to_string())
        .hint("see what is missing: ecom_setup --check, with the same configuration")
}
