//! Bus and store in one `SQLite` file, for when nothing else is configured: no cloud, no Docker, no
//! Java, and every promise kept that the real adapters keep.
//!
//! Several processes share the file; each has one engine thread that owns its connection
//! and commits whatever jobs are waiting in one transaction. Any process may be killed at any
//! moment: what was answered is on disk, and its leases come back when they run out.

mod bus;
mod database;
mod dead_letters;
mod engine;
mod facts;
mod feed;
mod operations;
mod publish;
mod schema;
#[cfg(test)]
mod testing;
mod turn;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use database::Database;
use ecom_bus::BusError;
use ecom_clock::Clock;
use ecom_store::StoreError;
use engine::{Engine, Failure, TopicNotifier};

/// Name of the file within its folder.
pub const FILE_NAME: &str = "ecom_store.db";

/// How the file is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to do where there is no file yet.
    pub absent: Absent,
    /// Topics and subscriptions that are created where they do not exist.
    pub routes: Vec<Route>,
    /// Where publish times and the ends of leases come from.
    pub clock: Clock,
    /// How long a transaction waits for another process' before it fails as an outage.
    pub busy_timeout: Duration,
}

/// What to do where there is no file yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absent {
    /// Create folder and file.
    Create,
    /// Fail with [`OpenError::Missing`] and touch nothing.
    Refuse,
}

/// A topic, and a subscription on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Short name of the topic.
    pub topic: String,
    /// Short name of the subscription; `None` = the topic alone.
    pub subscription: Option<String>,
}

impl Options {
    /// Creates what is missing; the system's clock; 2 s of patience.
    pub fn new(routes: Vec<Route>) -> Self {
        Self { absent: Absent::Create, routes, clock: Clock::System, busy_timeout: Duration::from_secs(2) }
    }

    /// Opens what is there and creates nothing.
    pub fn existing() -> Self {
        Self { absent: Absent::Refuse, ..Self::new(Vec::new()) }
    }
}

impl Route {
    /// A subscription on a topic.
    pub fn new(topic: impl Into<String>, subscription: impl Into<String>) -> Self {
        Self { topic: topic.into(), subscription: Some(subscription.into()) }
    }

    /// A topic alone: what is published there is kept for nobody.
    pub fn unsubscribed(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), subscription: None }
    }
}

/// Why the file could not be opened.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no file, and none was to be created.
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
        /// The system's error.
        source: std::io::Error,
    },
    /// The file was written by a later version of this program.
    #[error("{} has schema version {found}, this program knows {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The file's schema version.
        found: i64,
        /// The latest this program knows.
        known: i64,
    },
    /// The file could not be opened or its schema not be created; where another process holds
    /// it, trying again may succeed.
    #[error("could not open {}: {source}", path.display())]
    Unavailable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Bus, fact store, dead-letter store and operations store over one file. Implements the ports `Bus`, `FactStore`, `DeadLetterStore`
/// and `OperationsStore`.
pub struct Embedded {
    engine: Engine,
    clock: Clock,
    description: Arc<str>,
    bells: Mutex<BTreeMap<i64, TopicNotifier>>,
}

/// Opens `ecom_store.db` in the folder `dir`. Whoever comes first creates schema, topics and
/// subscriptions, in one transaction. May block for as long as `busy_timeout`.
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
    Ok(Arc::new(Embedded { engine, clock: options.clock, description, bells: Mutex::default() }))
}

impl Embedded {
    /// `embedded at /absolute/path/ecom_store.db`.
    pub fn describe(&self) -> String {
        self.description.to_string()
    }

    /// Waits until nothing is left to write and lets go of the file. It is opened again by whoever
    /// still uses this value afterwards.
    pub async fn close(&self) {
        self.engine.close().await;
    }

    /// What rings when something arrives on a topic.
    fn notifier(&self, topic: i64) -> TopicNotifier {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.entry(topic).or_default().clone()
    }

    fn store_error(&self, what: &'static str, failure: Failure) -> StoreError {
        let on = self.describe();
        if failure.is_outage() {
            StoreError::Unavailable { what, on, source: Box::new(failure) }
        } else {
            StoreError::Refused { what, on, source: Box::new(failure) }
        }
    }

    fn bus_error(&self, what: String, failure: Failure) -> BusError {
        let on = self.describe();
        if failure.is_outage() {
            BusError::Unavailable { what, on, source: Box::new(failure) }
        } else {
            BusError::Refused { what, on, source: Box::new(failure) }
        }
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.description)
    }
}
