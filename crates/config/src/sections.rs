//! The sections, as the rest of the program reads them.

mod bus;
mod consumer;
mod dead_letters;
mod embedded;
mod process;
mod producer;
mod store;

pub use bus::{BusConfig, BusKind, Names, PubsubConfig};
pub use consumer::ConsumerConfig;
pub use dead_letters::DeadLettersConfig;
pub use embedded::EmbeddedConfig;
pub use process::{AdminConfig, Color, ConnectConfig, LogConfig, LogFormat, ShutdownConfig};
pub use producer::ProducerConfig;
pub use store::{CassandraConfig, Credentials, StoreConfig, StoreKind, Tls};

use super::reader::Reader;

/// Every setting, checked.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Where events are published and received.
    pub bus: BusConfig,
    /// Where facts and dead letters are kept.
    pub store: StoreConfig,
    /// Bus and store in one folder.
    pub embedded: EmbeddedConfig,
    /// How a start waits for the others.
    pub connect: ConnectConfig,
    /// How events are consumed.
    pub consumer: ConsumerConfig,
    /// What is published, and how fast.
    pub producer: ProducerConfig,
    /// When dead letters are tried again, and when they are left to a human.
    pub dead_letters: DeadLettersConfig,
    /// How a process stops.
    pub shutdown: ShutdownConfig,
    /// The port for probes and metrics.
    pub admin: AdminConfig,
    /// What is said on stderr.
    pub log: LogConfig,
}

impl Config {
    /// Reads every section before giving up on any, so that all faults are found.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let bus = BusConfig::read(reader);
        let store = StoreConfig::read(reader);
        let embedded = EmbeddedConfig::read(reader);
        let connect = ConnectConfig::read(reader);
        let consumer = ConsumerConfig::read(reader);
        let producer = ProducerConfig::read(reader);
        let dead_letters = DeadLettersConfig::read(reader);
        let shutdown = ShutdownConfig::read(reader);
        let admin = AdminConfig::read(reader);
        let log = LogConfig::read(reader);
        Some(Self {
            bus: bus?,
            store: store?,
            embedded: embedded?,
            connect: connect?,
            consumer: consumer?,
            producer: producer?,
            dead_letters: dead_letters?,
            shutdown: shutdown?,
            admin: admin?,
            log: log?,
        })
    }
}
