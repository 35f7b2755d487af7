//! Where the idempotency keys of a load are kept.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::manifest::{ManifestError, ManifestWriter};
use super::requests::RecordKind;

/// Where the idempotency keys of a load are kept.
#[derive(Debug)]
pub enum KeyLog {
    /// Nowhere.
    None,
    /// In memory: the id of each key.
    Memory(Mutex<BTreeMap<String, i64>>),
    /// In a file, so that another process can prove what became of each.
    Manifest(ManifestWriter),
}

impl KeyLog {
    /// Notes a request before it is sent.
    pub(crate) fn asked(&self, key: &str, kind: RecordKind, request: &Value) -> Result<(), ManifestError> {
        match self {
            Self::None | Self::Memory(_) => Ok(()),
            Self::Manifest(manifest) => manifest.asked(key, kind, request),
        }
    }

    /// Notes the id that a request was answered with.
    pub(crate) fn answered(&self, key: &str, id: i64) -> Result<(), ManifestError> {
        match self {
            Self::None => Ok(()),
            Self::Memory(ids) => {
                ids.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), id);
                Ok(())
            }
            Self::Manifest(manifest) => manifest.answered(key, id),
        }
    }
}
