//! Configuration: layers, the origin of each value, and every fault at once.
//!
//! Layers, later ones win: `config/default.toml` (compiled in), the files of `ECOM_CONFIG` and `-c`, the
//! variables of other tools (`PUBSUB_EMULATOR_HOST`, `GOOGLE_CLOUD_PROJECT`, `RUST_LOG`, `NO_COLOR`,
//! `OTEL_EXPORTER_OTLP_ENDPOINT`),
//! `ECOM__SECTION__KEY`, and `--set` with the named flags.
//!
//! `default.toml` lists the keys, and the types of its values are their types. Each section is one serde
//! struct: those of an adapter are in the adapter's crate, the others in [`Config`]. A new key is a line in
//! `default.toml` and a field of the struct; [`fields`] has the types of fields.

mod checks;
mod document;
mod fault;
pub mod fields;
mod guard;
pub mod hosts;
mod known;
mod layers;
mod origin;
mod print;
mod rate;
mod read;
mod secret;
mod sections;
mod sources;
mod value;

pub use checks::{Checks, Section};
pub use fault::{Fault, Faults};
pub use guard::{GuardError, guard};
pub use origin::Origin;
pub use rate::Rate;
pub use read::defaults;
pub use secret::Secret;
pub use sections::{
    AdminConfig, BusConfig, BusKind, Color, Config, ConnectConfig, ConsumerConfig, DeadLettersConfig,
    LogConfig, LogFormat, ProducerConfig, ShutdownConfig, StoreConfig, StoreKind, SubscriptionNames,
    TopicNames, TracesConfig,
};
pub use sources::{Set, SetError, Sources};

use layers::{Layers, Setting};

/// The text of `config/default.toml`.
pub const DEFAULT_TOML: &str = include_str!("../../../config/default.toml");

/// A configuration without faults, and the origin of each value.
pub struct Loaded<T> {
    /// The values, typed.
    pub config: T,
    /// Variables that set nothing and look as if they were meant to, each with what it may have been meant to be.
    pub warnings: Vec<String>,
    settings: Vec<Setting>,
}

impl<T> Loaded<T> {
    /// Returns every value as TOML that can be used as a config file, each followed by its origin.
    ///
    /// The line of a secret that is set is masked and commented out, because the mask is not a password.
    pub fn print(&self) -> String {
        print::print(&self.settings)
    }

    /// Returns the fault of a value that turned out to be wrong later on; `why` continues the sentence that begins
    /// with the key.
    pub fn fault(&self, key: &str, why: &str) -> Fault {
        let place = self.origin(key).and_then(Origin::place);
        Fault::new(place, format!("{key} {why}"))
    }

    /// Returns the origin of the key's value; `None` if the key is unknown.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        layers::find(&self.settings, key).map(|setting| &setting.origin)
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Loaded<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Lays the sources over the defaults and reads the result as `T`, usually a [`Config`].
///
/// Reads the config files and, if Cassandra is the store, its password file.
///
/// # Errors
///
/// Every fault of the configuration, not only the first.
pub fn load<T: Section>(sources: &Sources) -> Result<Loaded<T>, Faults> {
    let mut layers = Layers::of_defaults(DEFAULT_TOML);
    let mut complete = true;
    for path in sources.config_files() {
        complete &= layers.add_file(&path);
    }
    layers.add_environment(&sources.env);
    layers.add_sets(&sources.sets);
    // Keys that an unreadable file may set must not be reported as missing.
    let config = if complete { read::read(&mut layers) } else { None };
    let Layers { settings, faults, warnings } = layers;
    match config {
        Some(config) if faults.is_empty() => Ok(Loaded { config, warnings, settings }),
        _ => Err(Faults(faults)),
    }
}

#[cfg(test)]
mod tests;
