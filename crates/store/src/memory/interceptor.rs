//! The interceptor of a store in memory.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::Tables;
use crate::StoreError;

/// A write to the tables.
pub type Write = Box<dyn FnOnce(&mut Tables) + Send>;

/// Intercepts the operations of a [`MemoryStore`](super::MemoryStore); `()` lets them through. An operation
/// is named by a verb phrase, as in [`StoreError`].
#[async_trait]
pub trait Interceptor: Send + Sync {
    /// Returns once the tables may be read, or the error of the read.
    async fn read(&self, _what: &'static str, _tables: &Mutex<Tables>) -> Result<(), StoreError> {
        Ok(())
    }

    /// Applies a write.
    async fn write(
        &self,
        _what: &'static str,
        tables: &Mutex<Tables>,
        write: Write,
    ) -> Result<(), StoreError> {
        write(&mut tables.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

impl Interceptor for () {}
