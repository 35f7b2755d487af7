//! The configuration as the binaries load it: the sections of every adapter that is built in.

use std::path::Path;
use std::time::Duration;

#[cfg(feature = "pubsub")]
use ecom_bus_pubsub::PubsubSettings;
#[cfg(feature = "embedded")]
use ecom_embedded::EmbeddedSettings;
#[cfg(feature = "cassandra")]
use ecom_store_cassandra::CassandraSettings;
#[cfg(not(all(feature = "pubsub", feature = "cassandra", feature = "embedded", feature = "shop")))]
use serde::de::IgnoredAny;

use super::exit::CliError;
#[cfg(feature = "shop")]
use super::shop::settings::ShopSettings;

// Keys of an adapter that is not built in are accepted, and their values are not read.
#[cfg(not(feature = "pubsub"))]
type PubsubSettings = IgnoredAny;
#[cfg(not(feature = "cassandra"))]
type CassandraSettings = IgnoredAny;
#[cfg(not(feature = "embedded"))]
type EmbeddedSettings = IgnoredAny;
#[cfg(not(feature = "shop"))]
type ShopSettings = IgnoredAny;

/// Every setting.
pub(crate) type Config =
    ecom_config::Config<PubsubSettings, CassandraSettings, EmbeddedSettings, ShopSettings>;

/// Every setting, and the origin of each value.
pub(crate) type Loaded = ecom_config::Loaded<Config>;

/// Returns the setting for which a key of a backend has no effect; `None` if it may have one.
pub(crate) fn unused(config: &Config, key: &str) -> Option<String> {
    let (bus, store) = (config.bus.kind, config.store.kind);
    let bus_is = || format!("bus.kind is \"{bus:?}\"").to_lowercase();
    let store_is = || format!("store.kind is \"{store:?}\"").to_lowercase();
    let is_pubsub = bus == ecom_config::BusKind::Pubsub;
    let is_cassandra = store == ecom_config::StoreKind::Cassandra;
    match key {
        "consumer.streams" if !is_pubsub => Some(bus_is()),
        _ if key.starts_with("bus.pubsub.") && !is_pubsub => Some(bus_is()),
        _ if key.starts_with("store.cassandra.") && !is_cassandra => Some(store_is()),
        _ if key.starts_with("embedded.") && is_pubsub && is_cassandra => {
            Some(format!("{}, {}", bus_is(), store_is()))
        }
        _ => None,
    }
}

/// Returns the folder of the embedded bus and store.
///
/// # Errors
///
/// The embedded adapter is not built in.
pub(crate) fn data_dir(config: &Config) -> Result<&Path, CliError> {
    #[cfg(feature = "embedded")]
    return Ok(&config.embedded.data_dir);
    #[cfg(not(feature = "embedded"))]
    return Err(not_built(config));
}

/// The timing of deliveries on the configured bus.
pub(crate) struct DeliveryTiming {
    /// Ack deadline, extended while a delivery is in progress.
    pub(crate) ack_deadline: Duration,
    /// Silence after which a stream is rebuilt; `None` = never.
    pub(crate) stream_idle_rotation: Option<Duration>,
}

/// Returns the timing of deliveries on the configured bus.
///
/// # Errors
///
/// The adapter of the bus is not built in.
pub(crate) fn delivery_timing(config: &Config) -> Result<DeliveryTiming, CliError> {
    match config.bus.kind {
        #[cfg(feature = "embedded")]
        ecom_config::BusKind::Embedded => {
            Ok(DeliveryTiming { ack_deadline: config.embedded.ack_deadline, stream_idle_rotation: None })
        }
        #[cfg(feature = "pubsub")]
        ecom_config::BusKind::Pubsub => Ok(DeliveryTiming {
            ack_deadline: config.bus.pubsub.ack_deadline,
            stream_idle_rotation: config.bus.pubsub.stream_idle_rotation,
        }),
        #[cfg(not(all(feature = "embedded", feature = "pubsub")))]
        _ => Err(not_built(config)),
    }
}

/// Returns the error of a command whose bus or store is not built in.
#[cfg(not(all(feature = "embedded", feature = "pubsub", feature = "cassandra")))]
pub(crate) fn not_built(config: &Config) -> CliError {
    let (bus, store) = (config.bus.kind, config.store.kind);
    let wanted = format!("bus.kind is \"{bus:?}\" and store.kind is \"{store:?}\"").to_lowercase();
    CliError::usage(format!("{wanted}, and this binary was built without one of them"))
        .hint("build with default features: cargo build --release")
}

#[cfg(all(test, feature = "pubsub", feature = "cassandra", feature = "embedded", feature = "shop"))]
mod tests;
