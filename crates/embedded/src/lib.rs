//! The embedded bus and store: one `SQLite` file, with the same guarantees as Pub/Sub and Cassandra.
//!
//! Several processes may share the file. Each has one engine thread that owns its connection and commits all
//! waiting jobs in one transaction. Any process may be killed at any moment: every acknowledged write is on
//! disk, and its leased messages are redelivered when their leases expire.

mod bus;
mod columns;
mod database;
mod dead_letters;
mod engine;
mod facts;
mod job;
mod operations;
mod publisher;
mod receive_loop;
mod receive_transaction;
mod schema;
mod settings;
#[cfg(test)]
mod testing;
mod topic_notifier;

pub use settings::EmbeddedSettings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use database::Database;
use ecom_bus::BusError;
use ecom_clock::Clock;
use ecom_store::StoreError;
use engine::Engine;
use job::EngineError;
use topic_notifier::TopicNotifier;

/// The name of the file within its folder.
pub const FILE_NAME: &str = "ecom_store.db";

/// Options for opening the file.
#[derive(Clone, Debug)]
pub struct Options {
    /// The behavior where the file does not exist.
    pub absent: Absent,
    /// Topics and subscriptions to create where they do not exist.
    pub routes: Vec<Route>,
    /// The clock for publish times and ack deadlines.
    pub clock: Clock,
    /// The longest that a transaction waits for the lock of another process; then it fails as an outage.
    pub busy_timeout: Duration,
}

/// The behavior where the file does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absent {
    /// Create the folder and the file.
    Create,
    /// Fail with [`OpenError::Missing`] and create nothing.
    Refuse,
}

/// A topic with a subscription on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// The short name of the topic.
    pub topic: String,
    /// The short name of the subscription; `None` for a topic without one.
    pub subscription: Option<String>,
}

impl Options {
    /// Returns options that create what is missing, with the system clock and a busy timeout of 2 s.
    pub fn new(routes: Vec<Route>) -> Self {
        Self { absent: Absent::Create, routes, clock: Clock::System, busy_timeout: Duration::from_secs(2) }
    }

    /// Returns options that create nothing.
    pub fn existing() -> Self {
        Self { absent: Absent::Refuse, ..Self::new(Vec::new()) }
    }
}

impl Route {
    /// Returns a route with a subscription.
    pub fn new(topic: impl Into<String>, subscription: impl Into<String>) -> Self {
        Self { topic: topic.into(), subscription: Some(subscription.into()) }
    }

    /// Returns a route without a subscription: messages published there are not kept.
    pub fn unsubscribed(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), subscription: None }
    }
}

/// An error of opening the file.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The file does not exist, and the options do not create it.
    #[error("there is no {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The folder could not be created.
    #[error("could not create the folder {}: {source}", path.display())]
    DataFolder {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file was created by a version of this program that uses another schema.
    #[error(
        "{} has schema version {found}, but this program needs {expected}: open it with the version that \
         created it, or move the file away and start with an empty one",
        path.display()
    )]
    SchemaVersion {
        /// The file.
        path: PathBuf,
        /// The file's schema version.
        found: i64,
        /// The schema version this program reads and writes.
        expected: i64,
    },
    /// The file could not be opened, or its schema not created. Where another process has locked it, a retry
    /// may succeed.
    #[error("could not open {}: {source}", path.display())]
    Unavailable {
        /// The file.
        path: PathBuf,
        /// The error of `SQLite` or the operating system.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The embedded bus and store. Implements the ports `Bus`, `FactStore`, `DeadLetterStore` and
/// `OperationsStore`.
pub struct Embedded {
    engine: Engine,
    clock: Clock,
    description: Arc<str>,
    /// By the row id of the topic.
    notifiers: Mutex<BTreeMap<i64, TopicNotifier>>,
}

/// Opens `ecom_store.db` in the folder `dir`, and creates what the options ask for in one transaction.
/// Blocks for up to `busy_timeout`.
pub fn open(dir: &Path, options: Options) -> Result<Arc<Embedded>, OpenError> {
    let dir =
        std::path::absolute(dir).map_err(|source| OpenError::DataFolder { path: dir.to_owned(), source })?;
    let path = dir.join(FILE_NAME);
    match options.absent {
        Absent::Create => {
            std::fs::create_dir_all(&dir).map_err(|source| OpenError::DataFolder { path: dir, source })?
        }
        Absent::Refuse if path.is_file() => {}
        Absent::Refuse => return Err(OpenError::Missing { path }),
    }
    let description = format!("embedded at {}", path.display()).into();
    let database = Database::open(path, &options)?;
    let path = database.path().to_owned();
    let engine = Engine::start(database)
        .map_err(|source| OpenError::Unavailable { path, source: Box::new(source) })?;
    Ok(Arc::new(Embedded { engine, clock: options.clock, description, notifiers: Mutex::default() }))
}

impl Embedded {
    /// Returns `embedded at /absolute/path/ecom_store.db`.
    pub fn describe(&self) -> String {
        self.description.to_string()
    }

    /// Waits until all writes have run, then closes the file. A later use opens it again.
    pub async fn close(&self) {
        self.engine.close().await;
    }

    /// Returns the notifier of the topic with this row id.
    fn notifier(&self, topic: i64) -> TopicNotifier {
        let mut notifiers = self.notifiers.lock().unwrap_or_else(PoisonError::into_inner);
        notifiers.entry(topic).or_default().clone()
    }

    fn store_error(&self, what: &'static str, error: EngineError) -> StoreError {
        let on = self.describe();
        if error.is_outage() {
            StoreError::Unavailable { what, on, source: Box::new(error) }
        } else {
            StoreError::Refused { what, on, source: Box::new(error) }
        }
    }

    fn bus_error(&self, what: String, error: EngineError) -> BusError {
        let on = self.describe();
        if error.is_outage() {
            BusError::Unavailable { what, on, source: Box::new(error) }
        } else {
            BusError::Refused { what, on, source: Box::new(error) }
        }
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.description)
    }
}
