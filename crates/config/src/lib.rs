//! Configuration: what every key is set to, who set it, and everything that is wrong with it.
//!
//! Layers, later ones win: `config/default.toml` (compiled in), the files of `ECOM_CONFIG` and `-c`, the
//! variables other tools know (`PUBSUB_EMULATOR_HOST`, `GOOGLE_CLOUD_PROJECT`, `RUST_LOG`, `NO_COLOR`),
//! `ECOM__SECTION__KEY`, and `--set` with the named flags. The keys of `default.toml` are the keys there
//! are, and the types of its values their types.

mod document;
mod fault;
mod guard;
mod hosts;
mod known;
mod layers;
mod origin;
mod print;
mod rate;
mod reader;
mod secret;
mod sections;
mod size;
mod sources;
mod value;

pub use fault::{Fault, Faults};
pub use guard::{GuardError, guard};
pub use origin::Origin;
pub use rate::Rate;
pub use secret::Secret;
pub use sections::{
    AdminConfig, BusConfig, BusKind, CassandraConfig, Color, Config, ConnectConfig, ConsumerConfig,
    Credentials, DeadLettersConfig, EmbeddedConfig, LogConfig, LogFormat, Names, ProducerConfig,
    PubsubConfig, ShutdownConfig, StoreConfig, StoreKind, Tls,
};
pub use sources::{Set, SetError, Sources};

use layers::{Entry, Layers};
use reader::Reader;

/// The text of `config/default.toml`.
pub const DEFAULT_TOML: &str = include_str!("../../../config/default.toml");

/// A configuration without faults, and where each value came from.
pub struct Loaded {
    /// The values, typed.
    pub config: Config,
    entries: Vec<Entry>,
}

impl Loaded {
    /// Every value as TOML that can be fed back as a config file, each followed by its origin.
    ///
    /// A secret that is set is masked, and its line commented out: the mask is not a password.
    pub fn print(&self) -> String {
        print::print(&self.entries)
    }

    /// Who set the key; `None` where there is no such key.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.origin)
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Lays the sources over the defaults; the error names every fault there is, not only the first.
///
/// Reads the config files and, where Cassandra is the store, its password file; nothing else.
pub fn load(sources: &Sources) -> Result<Loaded, Faults> {
    let mut layers = Layers::of_defaults(DEFAULT_TOML);
    let mut complete = true;
    for path in sources.config_files() {
        complete &= layers.add_file(&path);
    }
    layers.add_environment(&sources.env);
    layers.add_sets(&sources.sets);
    let Layers { entries, mut faults } = layers;
    // Where a whole file is missing, what it would have said is not known to be missing.
    if complete {
        let mut reader = Reader::new(&entries);
        let config = Config::read(&mut reader);
        faults.append(&mut reader.into_faults());
        if let (Some(config), true) = (config, faults.is_empty()) {
            return Ok(Loaded { config, entries });
        }
    }
    Err(Faults(faults))
}

#[cfg(test)]
mod tests;
