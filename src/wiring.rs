//! From the configuration to connected ports: one match arm per backend, and never a fallback.

use std::sync::Arc;
use std::time::Duration;

use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use super::config::Config;
use super::context::Context;
use super::exit::CliError;
use super::startup::Attempt;
use ecom_bus::Bus;
use ecom_store::{DeadLetterStore, FactStore, OperationsStore};

/// Pause between attempts in the background of a command that needs no store.
const RECONNECT_IN_BACKGROUND: Duration = Duration::from_secs(60);

/// The ports of a connected store.
#[derive(Clone)]
pub(crate) struct Store {
    /// The fact table.
    pub(crate) facts: Arc<dyn FactStore>,
    /// The dead-letter store.
    pub(crate) dead_letter_store: Arc<dyn DeadLetterStore>,
    /// Heartbeats and bulk operations.
    pub(crate) operations: Arc<dyn OperationsStore>,
    /// The adapter behind these ports, for the ports of other crates on the same connection.
    #[cfg_attr(not(feature = "shop"), expect(dead_code, reason = "only the shop has further ports"))]
    pub(crate) adapter: StoreAdapter,
}

/// A connected adapter of the store.
#[derive(Clone)]
pub(crate) enum StoreAdapter {
    /// The embedded file.
    #[cfg(feature = "embedded")]
    Embedded(#[cfg_attr(not(feature = "shop"), expect(dead_code))] Arc<ecom_embedded::Embedded>),
    /// Cassandra.
    #[cfg(feature = "cassandra")]
    Cassandra(
        #[cfg_attr(not(feature = "shop"), expect(dead_code))] Arc<ecom_store_cassandra::CassandraStore>,
    ),
}

#[cfg(any(feature = "embedded", feature = "cassandra"))]
impl Store {
    fn new<S>(store: Arc<S>, adapter: fn(Arc<S>) -> StoreAdapter) -> Self
    where
        S: FactStore + DeadLetterStore + OperationsStore + 'static,
    {
        Self {
            facts: store.clone(),
            dead_letter_store: store.clone(),
            operations: store.clone(),
            adapter: adapter(store),
        }
    }
}

/// Handling of an embedded folder that does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DataFolder {
    /// Create it, as roles do.
    Create,
    /// Fail, as commands do that only read or repair.
    MustExist,
    /// Fail, also where no shop has used it.
    #[cfg(feature = "shop-embedded")]
    MustHaveShop,
}

/// Connects bus and store, and logs what they are.
pub(crate) async fn both(context: &Context, folder: DataFolder) -> Result<(Arc<dyn Bus>, Store), CliError> {
    #[cfg(feature = "embedded")]
    if context.config.bus.kind == ecom_config::BusKind::Embedded
        && context.config.store.kind == ecom_config::StoreKind::Embedded
    {
        let embedded = context.startup.reach(async || open_embedded(context, folder).await).await?;
        log_backends(&[&embedded.describe()]);
        return Ok((embedded.clone(), Store::new(embedded, StoreAdapter::Embedded)));
    }
    let bus = context.startup.reach(async || connect_bus(context, folder).await).await?;
    let store = context.startup.reach(async || connect_store(context, folder).await).await?;
    log_backends(&[&bus.describe(), &store.facts.describe()]);
    Ok((bus, store))
}

/// Connects the bus alone; also returns the operations store if one embedded file is both bus and store.
pub(crate) async fn bus(
    context: &Context,
) -> Result<(Arc<dyn Bus>, Option<Arc<dyn OperationsStore>>), CliError> {
    let config = &context.config;
    if (config.bus.kind, config.store.kind)
        == (ecom_config::BusKind::Embedded, ecom_config::StoreKind::Embedded)
    {
        let (bus, store) = both(context, DataFolder::Create).await?;
        return Ok((bus, Some(store.operations)));
    }
    let bus = context.startup.reach(async || connect_bus(context, DataFolder::Create).await).await?;
    log_backends(&[&bus.describe()]);
    Ok((bus, None))
}

/// Connects the operations store in the background of a command that needs no store: without log lines above
/// debug, for as long as it takes. Never returns if it cannot be connected.
pub(crate) async fn operations(context: &Context) -> Arc<dyn OperationsStore> {
    loop {
        // Clients log failures loudly, and this command does not depend on the outcome.
        let connecting = connect_store(context, DataFolder::MustExist).with_subscriber(NoSubscriber::new());
        match connecting.await {
            Ok(store) => return store.operations,
            Err(Attempt::Later(stop)) => tracing::debug!("{stop}; heartbeats are not written yet"),
            Err(Attempt::Never(stop)) => {
                tracing::debug!("{stop}; heartbeats are not written");
                std::future::pending::<()>().await;
            }
        }
        tokio::time::sleep(RECONNECT_IN_BACKGROUND).await;
    }
}

/// Connects the store alone, and logs what it is.
pub(crate) async fn store(context: &Context, folder: DataFolder) -> Result<Store, CliError> {
    let store = unnamed_store(context, folder).await?;
    log_store(&store);
    Ok(store)
}

/// Logs what the store is.
pub(crate) fn log_store(store: &Store) {
    log_backends(&[&store.facts.describe()]);
}

/// Opens the embedded file, whatever else is configured, and returns its name.
pub(crate) async fn embedded(context: &Context, folder: DataFolder) -> Result<String, CliError> {
    #[cfg(feature = "embedded")]
    return context
        .startup
        .reach(async || open_embedded(context, folder).await.map(|embedded| embedded.describe()))
        .await;
    #[cfg(not(feature = "embedded"))]
    {
        let _ = folder;
        Err(super::config::not_built(&context.config))
    }
}

/// Connects the store alone, for a command whose answer names it.
pub(crate) async fn unnamed_store(context: &Context, folder: DataFolder) -> Result<Store, CliError> {
    context.startup.reach(async || connect_store(context, folder).await).await
}

fn log_backends(parts: &[&str]) {
    tracing::info!("using {}", parts.join(" and "));
}

async fn connect_bus(context: &Context, folder: DataFolder) -> Result<Arc<dyn Bus>, Attempt> {
    match context.config.bus.kind {
        #[cfg(feature = "embedded")]
        ecom_config::BusKind::Embedded => {
            open_embedded(context, folder).await.map(|embedded| embedded as Arc<dyn Bus>)
        }
        #[cfg(feature = "pubsub")]
        ecom_config::BusKind::Pubsub => {
            connect_pubsub(&context.config).await.map(|bus| Arc::new(bus) as Arc<dyn Bus>)
        }
        #[cfg(not(all(feature = "embedded", feature = "pubsub")))]
        _ => not_built(context, folder),
    }
}

async fn connect_store(context: &Context, folder: DataFolder) -> Result<Store, Attempt> {
    match context.config.store.kind {
        #[cfg(feature = "embedded")]
        ecom_config::StoreKind::Embedded => {
            let embedded = open_embedded(context, folder).await?;
            Ok(Store::new(embedded, StoreAdapter::Embedded))
        }
        #[cfg(feature = "cassandra")]
        ecom_config::StoreKind::Cassandra => connect_cassandra(&context.config).await,
        #[cfg(not(all(feature = "embedded", feature = "cassandra")))]
        _ => not_built(context, folder),
    }
}

#[cfg(not(all(feature = "embedded", feature = "pubsub", feature = "cassandra")))]
fn not_built<T>(context: &Context, _: DataFolder) -> Result<T, Attempt> {
    Err(Attempt::Never(super::config::not_built(&context.config)))
}

/// Returns the topics and subscriptions that the embedded bus creates.
#[cfg(feature = "embedded")]
fn routes(config: &Config) -> Vec<ecom_embedded::Route> {
    let (topics, subscriptions) = (&config.bus.topics, &config.bus.subscriptions);
    let pairs = [
        (&topics.orders, &subscriptions.orders),
        (&topics.payments, &subscriptions.payments),
        (&topics.dead_letters, &subscriptions.dead_letters),
        #[cfg(feature = "shop")]
        (&config.shop.topics.requests, &config.shop.subscriptions.requests),
        #[cfg(feature = "shop")]
        (&config.shop.topics.notices, &config.shop.subscriptions.notices),
    ];
    pairs.map(|(topic, subscription)| ecom_embedded::Route::new(topic, subscription)).into()
}

/// Returns the tables of the embedded store beside those of the pipeline.
#[cfg(feature = "embedded")]
fn extensions() -> Vec<ecom_embedded::SchemaExtension> {
    vec![
        #[cfg(feature = "shop-embedded")]
        ecom_shop_embedded::SCHEMA,
    ]
}

#[cfg(feature = "embedded")]
async fn open_embedded(
    context: &Context,
    folder: DataFolder,
) -> Result<Arc<ecom_embedded::Embedded>, Attempt> {
    use ecom_embedded::{ByteLimits, OpenError, Options, open};
    let options = match folder {
        DataFolder::Create => Options { extensions: extensions(), ..Options::new(routes(&context.config)) },
        DataFolder::MustExist => Options::existing(),
        #[cfg(feature = "shop-embedded")]
        DataFolder::MustHaveShop => Options { extensions: extensions(), ..Options::existing() },
    };
    let limits = ByteLimits::from(&context.config.embedded);
    let options = Options { clock: context.clock, limits, ..options };
    let data_dir = context.config.embedded.data_dir.clone();
    // It waits for the lock of another process; probes are answered meanwhile.
    let opened = tokio::task::spawn_blocking(move || open(&data_dir, options)).await;
    let opened = opened.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    opened.map_err(|error| match &error {
        OpenError::Unavailable { .. } => Attempt::Later(CliError::failed(error.to_string())),
        OpenError::NotWritable { .. } => Attempt::Never(CliError::failed(error.to_string()).hint(
            "let this user write the folder and the files in it, or name another folder with --data-dir DIR",
        )),
        OpenError::MissingExtension { .. } => Attempt::Never(
            CliError::failed(error.to_string()).hint("leave out --shop, or start api_service first"),
        ),
        OpenError::Missing { .. } => Attempt::Never(
            CliError::failed(error.to_string())
                .hint("start a producer or a consumer first, or name the folder with --data-dir DIR"),
        ),
        _ => Attempt::Never(CliError::failed(error.to_string())),
    })
}

/// Deletes the embedded file, unless a process has it open.
pub(crate) fn remove_embedded(context: &Context) -> Result<(), CliError> {
    #[cfg(feature = "embedded")]
    return ecom_embedded::remove(&context.config.embedded.data_dir).map_err(|error| {
        let is_in_use = matches!(error, ecom_embedded::RemoveError::InUse { .. });
        let error = CliError::failed(error.to_string());
        let hint = "stop the processes that have it open, or name another folder: --data-dir DIR";
        if is_in_use { error.hint(hint) } else { error }
    });
    #[cfg(not(feature = "embedded"))]
    return Err(super::config::not_built(&context.config));
}

/// Connects Pub/Sub for provisioning.
#[cfg(feature = "pubsub")]
pub(crate) async fn pubsub(context: &Context) -> Result<ecom_bus_pubsub::Pubsub, CliError> {
    context.startup.reach(async || connect_pubsub(&context.config).await).await
}

#[cfg(feature = "pubsub")]
async fn connect_pubsub(config: &Config) -> Result<ecom_bus_pubsub::Pubsub, Attempt> {
    ecom_bus_pubsub::Pubsub::connect(config.bus.pubsub.clone()).await.map_err(|error| {
        let stop = CliError::failed(error.to_string());
        let stop = match &config.bus.pubsub.emulator_host {
            Some(host) => stop.hint(format!(
                "start an emulator there: gcloud beta emulators pubsub start --host-port={host}, or mean the \
                 embedded default: --embedded"
            )),
            None => stop.hint(
                "check the network and the credentials: gcloud auth application-default login, or \
                 GOOGLE_APPLICATION_CREDENTIALS",
            ),
        };
        if error.is_outage() { Attempt::Later(stop) } else { Attempt::Never(stop) }
    })
}

/// Adds what to do to an error of Cassandra, and decides whether another attempt may succeed.
#[cfg(feature = "cassandra")]
fn cassandra_failed(error: &ecom_store_cassandra::ConnectError) -> Attempt {
    use ecom_store_cassandra::ConnectError;
    let stop = CliError::failed(error.to_string());
    match error {
        ConnectError::Schema { .. } => {
            Attempt::Never(stop.hint("create what is missing: ecom_setup, with the same configuration"))
        }
        _ if error.is_outage() => Attempt::Later(stop.hint(
            "start Cassandra: docker compose -f docker-compose-cassandra.yml up -d, or mean the embedded \
             default: --embedded",
        )),
        _ => Attempt::Never(stop),
    }
}

/// Connects Cassandra and applies the schema; returns the checklist before that, and after.
#[cfg(feature = "cassandra")]
pub(crate) async fn apply_schema(context: &Context) -> Result<(Checklist, Checklist), CliError> {
    use ecom_store_cassandra::provision;
    context
        .startup
        .reach(async || {
            let settings = &context.config.store.cassandra;
            let before = provision::check(settings, None).await;
            let applied = provision::apply(settings).await;
            applied.map(|after| (before, after)).map_err(|error| cassandra_failed(&error))
        })
        .await
}

#[cfg(feature = "cassandra")]
type Checklist = Vec<ecom_store_cassandra::provision::Check>;

#[cfg(feature = "cassandra")]
async fn connect_cassandra(config: &Config) -> Result<Store, Attempt> {
    let store = ecom_store_cassandra::CassandraStore::connect(&config.store.cassandra)
        .await
        .map_err(|error| cassandra_failed(&error))?;
    Ok(Store::new(Arc::new(store), StoreAdapter::Cassandra))
}
