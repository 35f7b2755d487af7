//! The embedded bus and store: opens the file and keeps its engine.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::database::Database;
use super::engine::Engine;
use super::job::EngineError;
use super::open_error::OpenError;
use super::options::{Absent, ByteLimits, Options};
use super::topic_notifier::TopicNotifier;
use ecom_bus::BusError;
use ecom_clock::Clock;
use ecom_store::StoreError;

/// The name of the file within its folder.
pub const FILE_NAME: &str = "ecom_store.db";

/// The embedded bus and store. Implements the ports `Bus`, `FactStore`, `DeadLetterStore` and
/// `OperationsStore`.
pub struct Embedded {
    pub(super) engine: Engine,
    pub(super) clock: Clock,
    pub(super) limits: ByteLimits,
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
        Absent::Refuse => match std::fs::metadata(&path) {
            Ok(found) if found.is_file() => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(OpenError::NotWritable { path, source: Box::new(error) });
            }
            Ok(_) | Err(_) => return Err(OpenError::Missing { path }),
        },
    }
    let description = format!("embedded at {}", path.display()).into();
    let database = Database::open(path, &options)?;
    let path = database.path().to_owned();
    let engine = Engine::start(database)
        .map_err(|source| OpenError::Unavailable { path, source: Box::new(source) })?;
    Ok(Arc::new(Embedded {
        engine,
        clock: options.clock,
        limits: options.limits,
        description,
        notifiers: Mutex::default(),
    }))
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
    pub(super) fn notifier(&self, topic: i64) -> TopicNotifier {
        let mut notifiers = self.notifiers.lock().unwrap_or_else(PoisonError::into_inner);
        notifiers.entry(topic).or_default().clone()
    }

    /// Returns the error of the store ports; `what` is the operation, as a verb phrase.
    pub(super) fn store_error(&self, what: &'static str, error: EngineError) -> StoreError {
        let on = self.describe();
        if error.is_outage() {
            StoreError::Unavailable { what, on, source: Box::new(error) }
        } else {
            StoreError::Refused { what, on, source: Box::new(error) }
        }
    }

    /// Returns the error of the bus port; `what` is the operation, as a verb phrase.
    pub(super) fn bus_error(&self, what: String, error: EngineError) -> BusError {
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
