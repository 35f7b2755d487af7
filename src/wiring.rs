//! From the configuration to connected ports. One match arm per backend; never a fallback.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use super::context::Context;
use super::exit::CliError;
use ecom_bus::Bus;
use ecom_config::Config;
use ecom_store::{DeadLetterStore, FactStore, OperationsStore};

/// Between attempts to reach a service that is down at the start.
const RECONNECT: Duration = Duration::from_millis(500);

/// Between attempts in the background of a command that needs no store.
const RECONNECT_IN_BACKGROUND: Duration = Duration::from_secs(60);

/// Connected ports.
#[derive(Clone)]
pub(crate) struct Store {
    /// The fact table.
    pub(crate) facts: Arc<dyn FactStore>,
    /// The dead-letter store.
    pub(crate) dead_letter_store: Arc<dyn DeadLetterStore>,
    /// Heartbeats and runs.
    pub(crate) operations: Arc<dyn OperationsStore>,
}

#[cfg(any(feature = "embedded", feature = "cassandra"))]
impl Store {
    fn new(store: Arc<impl FactStore + DeadLetterStore + OperationsStore + 'static>) -> Self {
        Self { facts: store.clone(), dead_letter_store: store.clone(), operations: store }
    }
}

/// May a command create the embedded folder?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DataFolder {
    /// Roles do.
    Create,
    /// Desk and facts commands do not.
    MustExist,
}

/// What one attempt to connect came to.
enum Attempt {
    /// Trying again may succeed.
    Later(CliError),
    /// It cannot.
    Never(CliError),
}

/// Connects bus and store, and says on stderr what they are.
pub(crate) async fn both(context: &Context, folder: DataFolder) -> Result<(Arc<dyn Bus>, Store), CliError> {
    #[cfg(feature = "embedded")]
    if context.config.bus.kind == ecom_config::BusKind::Embedded
        && context.config.store.kind == ecom_config::StoreKind::Embedded
    {
        let embedded = reached(context, async || open_embedded(context, folder)).await?;
        say(&[&embedded.describe()]);
        return Ok((embedded.clone(), Store::new(embedded)));
    }
    let bus = reached(context, async || connect_bus(context, folder).await).await?;
    let store = reached(context, async || connect_store(context, folder).await).await?;
    say(&[&bus.describe(), &store.facts.describe()]);
    Ok((bus, store))
}

/// Connects the bus alone; with the operations store where the bus's file is the store as well.
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
    let bus = reached(context, async || connect_bus(context, DataFolder::Create).await).await?;
    say(&[&bus.describe()]);
    Ok((bus, None))
}

/// Connects the store's operations store in the background of a command that needs no store: without a word,
/// for as long as it takes, and never where it cannot be.
pub(crate) async fn operations(context: &Context) -> Arc<dyn OperationsStore> {
    loop {
        // Clients tell of failures loudly, and here nobody waits for the outcome.
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

/// Connects the store alone.
pub(crate) async fn store(context: &Context, folder: DataFolder) -> Result<Store, CliError> {
    let store = reached(context, async || connect_store(context, folder).await).await?;
    say(&[&store.facts.describe()]);
    Ok(store)
}

fn say(parts: &[&str]) {
    tracing::info!("using {}", parts.join(" and "));
}

/// Tries until `connect.timeout` or a signal.
async fn reached<T>(context: &Context, connect: impl AsyncFn() -> Result<T, Attempt>) -> Result<T, CliError> {
    let deadline = Instant::now() + context.config.connect.timeout;
    let mut said = false;
    loop {
        let attempt = tokio::select! {
            biased;
            () = context.stop.cancelled() => return Err(CliError::failed("stopped before bus and store were reached")),
            attempt = connect() => attempt,
        };
        match attempt {
            Ok(connected) => return Ok(connected),
            Err(Attempt::Never(stop)) => return Err(stop),
            Err(Attempt::Later(stop)) if Instant::now() + RECONNECT >= deadline => return Err(stop),
            Err(Attempt::Later(stop)) => {
                if !std::mem::replace(&mut said, true) {
                    let timeout = humantime::format_duration(context.config.connect.timeout);
                    tracing::warn!("{stop}; trying for {timeout}");
                }
                tokio::time::sleep(RECONNECT).await;
            }
        }
    }
}

async fn connect_bus(context: &Context, folder: DataFolder) -> Result<Arc<dyn Bus>, Attempt> {
    match context.config.bus.kind {
        #[cfg(feature = "embedded")]
        ecom_config::BusKind::Embedded => {
            open_embedded(context, folder).map(|embedded| embedded as Arc<dyn Bus>)
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
        ecom_config::StoreKind::Embedded => open_embedded(context, folder).map(Store::new),
        #[cfg(feature = "cassandra")]
        ecom_config::StoreKind::Cassandra => connect_cassandra(&context.config).await,
        #[cfg(not(all(feature = "embedded", feature = "cassandra")))]
        _ => not_built(context, folder),
    }
}

#[cfg(not(all(feature = "embedded", feature = "pubsub", feature = "cassandra")))]
fn not_built<T>(context: &Context, _: DataFolder) -> Result<T, Attempt> {
    let (bus, store) = (context.config.bus.kind, context.config.store.kind);
    let wanted = format!("{bus:?} and {store:?}").to_lowercase();
    Err(Attempt::Never(
        CliError::usage(format!("bus and store are {wanted}, and this binary was built without one of them"))
            .hint("build with default features: cargo build --release"),
    ))
}

/// Topics and subscriptions the embedded bus starts with.
#[cfg(feature = "embedded")]
fn routes(config: &Config) -> Vec<ecom_embedded::Route> {
    let (topics, subscriptions) = (&config.bus.topics, &config.bus.subscriptions);
    [
        (&topics.orders, &subscriptions.orders),
        (&topics.payments, &subscriptions.payments),
        (&topics.dead_letters, &subscriptions.dead_letters),
    ]
    .map(|(topic, subscription)| ecom_embedded::Route::new(topic, subscription))
    .into()
}

#[cfg(feature = "embedded")]
fn open_embedded(context: &Context, folder: DataFolder) -> Result<Arc<ecom_embedded::Embedded>, Attempt> {
    use ecom_embedded::{OpenError, Options, open};
    let options = match folder {
        DataFolder::Create => Options { clock: context.clock, ..Options::new(routes(&context.config)) },
        DataFolder::MustExist => Options { clock: context.clock, ..Options::existing() },
    };
    open(&context.config.embedded.data_dir, options).map_err(|error| match &error {
        OpenError::Unavailable { .. } => Attempt::Later(CliError::failed(error.to_string())),
        OpenError::Missing { .. } => Attempt::Never(
            CliError::failed(error.to_string())
                .hint("start a producer or a consumer first, or name the folder with --data-dir DIR"),
        ),
        _ => Attempt::Never(CliError::failed(error.to_string())),
    })
}

/// How Pub/Sub is reached, by the configuration.
#[cfg(feature = "pubsub")]
pub(crate) fn pubsub_settings(config: &Config) -> ecom_bus_pubsub::PubsubSettings {
    let settings = ecom_bus_pubsub::PubsubSettings::new(&config.bus.pubsub.project);
    match &config.bus.pubsub.emulator_host {
        Some(host) => settings.on_emulator(host),
        None => settings,
    }
}

/// Connects Pub/Sub, for provisioning.
#[cfg(feature = "pubsub")]
pub(crate) async fn pubsub(context: &Context) -> Result<ecom_bus_pubsub::Pubsub, CliError> {
    reached(context, async || connect_pubsub(&context.config).await).await
}

#[cfg(feature = "pubsub")]
async fn connect_pubsub(config: &Config) -> Result<ecom_bus_pubsub::Pubsub, Attempt> {
    ecom_bus_pubsub::Pubsub::connect(pubsub_settings(config)).await.map_err(|error| {
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

/// How Cassandra is reached, by the configuration.
#[cfg(feature = "cassandra")]
pub(crate) fn cassandra_settings(config: &Config) -> ecom_store_cassandra::CassandraSettings {
    use ecom_store_cassandra::{CassandraSettings, Credentials, Replication, Secret, Tls};
    let cassandra = &config.store.cassandra;
    CassandraSettings {
        contact_points: cassandra.contact_points.clone(),
        local_datacenter: cassandra.local_datacenter.clone(),
        keyspace: cassandra.keyspace.clone(),
        replication: Replication::Datacenters(vec![(
            cassandra.local_datacenter.clone(),
            u8::try_from(cassandra.replication_factor).unwrap_or(u8::MAX),
        )]),
        credentials: cassandra.credentials.as_ref().map(|known| Credentials {
            user: known.user.clone(),
            password: Secret(known.password.expose().to_owned()),
        }),
        tls: match &cassandra.tls {
            ecom_config::Tls::Off => Tls::Off,
            ecom_config::Tls::On { ca_file } => ca_file.clone().map_or(Tls::System, Tls::Ca),
        },
        request_timeout: cassandra.request_timeout,
        connections_per_node: cassandra.connections_per_node,
        ..CassandraSettings::default()
    }
}

/// What failed when Cassandra was asked for something at the start.
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

/// Applies the schema, for provisioning.
#[cfg(feature = "cassandra")]
pub(crate) async fn apply_schema(
    context: &Context,
) -> Result<Vec<ecom_store_cassandra::provision::Check>, CliError> {
    let settings = cassandra_settings(&context.config);
    reached(context, async || {
        let applied = ecom_store_cassandra::provision::apply(&settings).await;
        applied.map_err(|error| cassandra_failed(&error))
    })
    .await
}

#[cfg(feature = "cassandra")]
async fn connect_cassandra(config: &Config) -> Result<Store, Attempt> {
    let store = ecom_store_cassandra::CassandraStore::connect(&cassandra_settings(config))
        .await
        .map_err(|error| cassandra_failed(&error))?;
    Ok(Store::new(Arc::new(store)))
}
