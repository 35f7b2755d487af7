//! The sections that do not belong to an adapter, and all sections together.

mod bus;
mod consumer;
mod dead_letters;
mod process;
mod producer;
mod store;

pub use bus::{BusConfig, BusKind, SubscriptionNames, TopicNames};
pub use consumer::ConsumerConfig;
pub use dead_letters::DeadLettersConfig;
pub use process::{AdminConfig, Color, ConnectConfig, LogConfig, LogFormat, ShutdownConfig, TracesConfig};
pub use producer::ProducerConfig;
pub use store::{StoreConfig, StoreKind};

use serde::Deserialize;

use super::checks::{Checks, Section};

/// Every setting. The parameters are the settings of the adapters for Pub/Sub, Cassandra and the embedded database, and
/// those of the shop; [`IgnoredAny`](serde::de::IgnoredAny) stands in for what is not built in.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config<P, C, E, S> {
    /// The bus that events are published to and received from.
    pub bus: BusConfig<P>,
    /// The store of facts and dead letters.
    pub store: StoreConfig<C>,
    /// Bus and store in one SQLite file.
    pub embedded: E,
    /// Connecting at the start.
    pub connect: ConnectConfig,
    /// Consuming events.
    pub consumer: ConsumerConfig,
    /// Publishing generated events.
    pub producer: ProducerConfig,
    /// Retries and retention of dead letters.
    pub dead_letters: DeadLettersConfig,
    /// Stopping.
    pub shutdown: ShutdownConfig,
    /// The port for probes and metrics.
    pub admin: AdminConfig,
    /// Log lines on stderr.
    pub log: LogConfig,
    /// Traces sent to a collector.
    pub traces: TracesConfig,
    /// The API and the payment processor.
    pub shop: S,
}

impl<P: Section, C: Section, E: Section, S: Section> Section for Config<P, C, E, S> {
    fn check(&mut self, checks: &mut Checks<'_>) {
        self.bus.check(checks);
        self.bus.pubsub.check(checks);
        self.store.cassandra.check(checks);
        self.embedded.check(checks);
        self.producer.check(checks);
        self.dead_letters.check(checks);
        self.shop.check(checks);
    }
}
