//! The long-running roles: ports and settings to a future. The binaries and the demo run the same.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::admin;
use super::cli::ConsumerArgs;
use super::context::Context;
use super::exit::{Exit, Stop};
use super::heartbeats;
use super::setup;
use super::wiring::{self, Folder, Store};
use ecom_bus::{Bus, Streams, SubscribeOptions, Subscription, TopicState};
use ecom_clock::{Chance, Clock};
use ecom_config::{BusKind, Config, DeadLettersConfig};
use ecom_domain::backoff::Backoff;
use ecom_domain::letter::Kind;
use ecom_pipeline::census;
use ecom_pipeline::consume::{Bounds, Consume, consume};
use ecom_pipeline::dead_letters::DeadLetters;
use ecom_pipeline::durable::Retrying;
use ecom_pipeline::hold::HoldSettings;
use ecom_pipeline::letters::{Actor, Letters};
use ecom_pipeline::order_locks::OrderLocks;
use ecom_pipeline::orders::Orders;
use ecom_pipeline::payments::Payments;
use ecom_pipeline::retries::{self, Offers, RetryPolicy};
use ecom_pipeline::settler::Settler;
use ecom_pipeline::summary::Summary;
use ecom_pipeline::window::{self, START};
use ecom_telemetry::metrics::{LedgerGauges, RoleMetrics};

/// Letters recorded at once: the ledger is not the hot path.
const LETTER_LANES: usize = 64;

/// How long a bus may take to be closed, after everything was settled.
const CLOSE: Duration = Duration::from_secs(2);

/// What a role stands on.
#[derive(Clone)]
pub(crate) struct Site {
    /// The bus.
    pub(crate) bus: Arc<dyn Bus>,
    /// The store.
    pub(crate) store: Store,
    /// The settings.
    pub(crate) config: Arc<Config>,
    /// Wall time.
    pub(crate) clock: Clock,
    /// Jitter.
    pub(crate) chance: Arc<Chance>,
    /// When the run ends by itself.
    pub(crate) bounds: Bounds,
    /// Cancelled = drain and end.
    pub(crate) stop: CancellationToken,
}

/// One role's counters and its way through outages.
#[derive(Clone)]
pub(crate) struct Gauges {
    /// What it counts.
    pub(crate) metrics: Arc<RoleMetrics>,
    /// How it waits out outages.
    pub(crate) retrying: Arc<Retrying>,
    /// What it shows of the ledger, where it is the one that handles it.
    pub(crate) ledger: Option<Arc<LedgerGauges>>,
    /// What it receives from, while it does.
    receiving: Arc<Mutex<Weak<Subscription>>>,
}

impl Gauges {
    /// Fresh ones for a role.
    pub(crate) fn new(role: &'static str, chance: &Arc<Chance>) -> Self {
        let metrics = Arc::new(RoleMetrics::new(role));
        let retrying = Arc::new(Retrying::new(Arc::clone(chance), Arc::clone(&metrics)));
        Self { metrics, retrying, ledger: None, receiving: Arc::default() }
    }

    /// The same, for the role that shows what the ledger holds.
    pub(crate) fn over_the_ledger(self, clock: Clock) -> Self {
        Self { ledger: Some(Arc::new(LedgerGauges::new(move || clock.now_us()))), ..self }
    }

    /// Notes what the role receives from, for its readiness.
    fn receives(&self, subscription: &Arc<Subscription>) {
        *self.receiving.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(subscription);
    }

    /// Whether the last call of bus or store failed, or the bus hands out nothing.
    pub(crate) fn in_outage(&self) -> bool {
        let receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        self.retrying.in_outage() || receiving.is_some_and(|subscription| !subscription.answers())
    }
}

impl Site {
    /// The site of a command: both ports connected.
    pub(crate) async fn connect(context: &Context, bounds: Bounds) -> Result<Self, Stop> {
        let (bus, store) = wiring::both(context, Folder::Create).await?;
        Ok(Self {
            bus,
            store,
            config: Arc::new(context.config.clone()),
            clock: context.clock,
            chance: Arc::clone(&context.chance),
            bounds,
            stop: context.stop.clone(),
        })
    }

    async fn subscribe(
        &self,
        subscription: &str,
        window: window::Bounds,
        held: usize,
    ) -> Result<Arc<Subscription>, Stop> {
        let config = &self.config;
        let lease = match config.bus.kind {
            BusKind::Embedded => config.embedded.lease,
            BusKind::Pubsub => config.bus.pubsub.lease,
        };
        let options = SubscribeOptions {
            streams: config.consumer.streams.map_or(Streams::Automatic, Streams::Fixed),
            max_outstanding: window.most + held,
            buffer: window.least,
            lease,
            idle_rotation: config.bus.pubsub.stream_idle_rotation,
        };
        let subscribed = self.bus.subscribe(subscription, options).await.map_err(missing_on_bus)?;
        Ok(Arc::new(subscribed))
    }

    /// From so many deliveries at once to as many as are allowed.
    fn window(&self, least: usize) -> window::Bounds {
        window::Bounds::from(least, self.config.consumer.max_in_flight)
    }

    async fn dead_letters(&self, kind: Kind, source: &str, gauges: &Gauges) -> Result<DeadLetters, Stop> {
        let topic = &self.config.bus.topics.dead_letters;
        require_subscription(self.bus.as_ref(), topic).await?;
        let window = self.config.consumer.max_in_flight * 2;
        Ok(DeadLetters {
            publisher: self.bus.publisher(topic, window).await.map_err(missing_on_bus)?,
            kind,
            subscription: source.to_owned(),
            clock: self.clock,
            metrics: Arc::clone(&gauges.metrics),
        })
    }

    /// Records orders until stopped or bounded.
    pub(crate) async fn order_consumer(&self, gauges: &Gauges) -> Result<(), Stop> {
        let source = &self.config.bus.subscriptions.orders;
        let window = self.window(START);
        let handler = Arc::new(Orders {
            facts: Arc::clone(&self.store.facts),
            dead_letters: self.dead_letters(Kind::Order, source, gauges).await?,
            retrying: Arc::clone(&gauges.retrying),
        });
        let subscription = self.subscribe(source, window, 0).await?;
        Ok(consume(handler, self.consume(subscription, window, None, gauges)).await?)
    }

    /// Joins payments until stopped or bounded.
    pub(crate) async fn payment_consumer(&self, gauges: &Gauges) -> Result<(), Stop> {
        let source = &self.config.bus.subscriptions.payments;
        let consumer = &self.config.consumer;
        let window = self.window(START);
        let hold = consumer.order_grace.map(|grace| HoldSettings {
            grace,
            limit: consumer.hold_limit,
            bytes: consumer.hold_bytes,
        });
        let handler = Arc::new(Payments {
            facts: Arc::clone(&self.store.facts),
            dead_letters: self.dead_letters(Kind::Payment, source, gauges).await?,
            retrying: Arc::clone(&gauges.retrying),
            locks: OrderLocks::new(),
        });
        let held = hold.map_or(0, |hold| hold.limit);
        let subscription = self.subscribe(source, window, held).await?;
        Ok(consume(handler, self.consume(subscription, window, hold, gauges)).await?)
    }

    /// Records letters; what waits is announced to `offers`.
    pub(crate) async fn letters(&self, gauges: &Gauges, actor: Actor, offers: Offers) -> Result<(), Stop> {
        let source = &self.config.bus.subscriptions.dead_letters;
        let window = self.window(LETTER_LANES);
        let handler = Arc::new(Letters {
            ledger: Arc::clone(&self.store.ledger),
            retrying: Arc::clone(&gauges.retrying),
            offers,
            actor,
        });
        let subscription = self.subscribe(source, window, 0).await?;
        Ok(consume(handler, self.consume(subscription, window, None, gauges)).await?)
    }

    /// What settles letters.
    pub(crate) fn settler(&self, gauges: &Gauges, actor: Actor) -> Settler {
        Settler {
            facts: Arc::clone(&self.store.facts),
            ledger: Arc::clone(&self.store.ledger),
            retrying: Arc::clone(&gauges.retrying),
            locks: OrderLocks::new(),
            policy: policy(&self.config.dead_letters),
            clock: self.clock,
            chance: Arc::clone(&self.chance),
            actor,
            note: None,
        }
    }

    /// Records letters and retries what waits, until stopped or bounded.
    pub(crate) async fn dlq_handler(&self, gauges: &Gauges, actor: Actor) -> Result<(), Stop> {
        let (offers, offered) = Offers::channel();
        let settler = self.settler(gauges, actor.clone());
        let retries_stop = CancellationToken::new();
        let recording = async {
            let recorded = self.letters(gauges, actor, offers.clone()).await;
            retries_stop.cancel();
            recorded
        };
        let retrying = async {
            let retried = retries::run(&settler, offers.clone(), offered, retries_stop.clone()).await;
            if retried.is_err() {
                self.stop.cancel();
            }
            retried.map_err(Stop::from)
        };
        let counting = async {
            if let (Some(ledger), Some(_)) = (&gauges.ledger, &self.config.admin.listen) {
                let Store { ledger: letters, journal, .. } = &self.store;
                census::run(letters.as_ref(), journal.as_ref(), ledger, retries_stop.clone()).await;
            }
        };
        let (recorded, retried, ()) = tokio::join!(recording, retrying, counting);
        recorded.and(retried)
    }

    fn consume(
        &self,
        subscription: Arc<Subscription>,
        window: window::Bounds,
        hold: Option<HoldSettings>,
        gauges: &Gauges,
    ) -> Consume {
        gauges.receives(&subscription);
        Consume {
            subscription,
            window,
            hold,
            bounds: self.bounds,
            metrics: Arc::clone(&gauges.metrics),
            stop: self.stop.clone(),
        }
    }
}

/// When letters are tried again, by the configuration.
pub(crate) fn policy(settings: &DeadLettersConfig) -> RetryPolicy {
    RetryPolicy {
        backoff: Backoff::try_new(settings.first_retry, settings.max_backoff).unwrap_or(Backoff::IN_PLACE),
        max_age: settings.max_age,
        sweep_interval: settings.sweep_interval,
        retention: settings.retention,
    }
}

/// Runs `order_consumer`.
pub(crate) async fn run_orders(context: Context, args: &ConsumerArgs) -> Result<Exit, Stop> {
    if context.common.check {
        return setup::check(&context).await;
    }
    let gauges = Gauges::new("order_consumer", &context.chance);
    let site = Site::connect(&context, args.bounds.bounds()).await?;
    supervise(&context, &site, &gauges, site.order_consumer(&gauges)).await
}

/// Runs `payment_consumer`.
pub(crate) async fn run_payments(context: Context, args: &ConsumerArgs) -> Result<Exit, Stop> {
    if context.common.check {
        return setup::check(&context).await;
    }
    let gauges = Gauges::new("payment_consumer", &context.chance);
    let site = Site::connect(&context, args.bounds.bounds()).await?;
    supervise(&context, &site, &gauges, site.payment_consumer(&gauges)).await
}

/// Runs a role with its admin port until it ends or a signal and the grace period end it; then
/// says what it did.
pub(crate) async fn supervise(
    context: &Context,
    site: &Site,
    gauges: &Gauges,
    role: impl Future<Output = Result<(), Stop>>,
) -> Result<Exit, Stop> {
    let outcome = attended(context, gauges, heartbeats::beside(site, gauges, role)).await;
    close(site.bus.as_ref()).await;
    summarise(context, gauges)?;
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
    gauges: &Gauges,
    role: impl Future<Output = Result<(), Stop>>,
) -> Result<(), Stop> {
    admin::beside(context, &[gauges], within_grace(context, gauges, role)).await
}

async fn within_grace(
    context: &Context,
    gauges: &Gauges,
    role: impl Future<Output = Result<(), Stop>>,
) -> Result<(), Stop> {
    let mut role = std::pin::pin!(role);
    tokio::select! {
        biased;
        outcome = &mut role => return outcome,
        () = context.stop.cancelled() => {}
    }
    let grace = context.config.shutdown.grace_period;
    let shown = humantime::format_duration(grace);
    let in_flight = gauges.metrics.in_flight.get();
    eprintln!("draining {in_flight} in flight, up to {shown}; Ctrl-C again to stop now");
    match tokio::time::timeout(grace, role).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let left = gauges.metrics.in_flight.get();
            Err(Stop::failed(format!("the grace period of {shown} ran out with {left} in flight"))
                .hint("they were given back to the bus and come again on the next start"))
        }
    }
}

/// Says what the run did: a line for people, and JSON where `--summary` asks for it.
pub(crate) fn summarise(context: &Context, gauges: &Gauges) -> Result<(), Stop> {
    let summary = Summary::of(&gauges.metrics, context.started.elapsed());
    eprintln!("{summary}");
    write_summary(context, &summary)
}

/// Writes what a run did as JSON, where `--summary` asks for it.
pub(crate) fn write_summary(context: &Context, summary: &impl serde::Serialize) -> Result<(), Stop> {
    let Some(path) = &context.common.summary else { return Ok(()) };
    let json = serde_json::to_string(summary).map_err(anyhow::Error::from)?;
    super::output::to(Some(path), &format!("{json}\n"))
}

/// Refuses a topic on which nobody keeps what is published.
pub(crate) async fn require_subscription(bus: &dyn Bus, topic: &str) -> Result<(), Stop> {
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
            TopicState::Unsubscribed => Err(Stop::failed(format!(
                "topic {topic} on {} has no subscription: what is published there is lost",
                bus.describe()
            ))
            .hint("create it: ecom_setup, with the same configuration")),
            TopicState::Missing => {
                Err(Stop::failed(format!("topic {topic} does not exist on {}", bus.describe()))
                    .hint("create it: ecom_setup, with the same configuration"))
            }
        };
    }
}

fn missing_on_bus(error: ecom_bus::BusError) -> Stop {
    Stop::failed(error.to_string())
        .hint("see what is missing: ecom_setup --check, with the same configuration")
}
