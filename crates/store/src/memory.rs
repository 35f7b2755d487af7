//! The ports on maps in memory, for tests: one store, whose operations an [`Interceptor`] can delay, fail or
//! apply later.

mod ports;
mod tables;

pub use tables::Tables;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use crate::StoreError;

/// A write to the tables.
pub type Write = Box<dyn FnOnce(&mut Tables) + Send>;

/// Intercepts the operations of a [`MemoryStore`]; `()` lets them through. An operation is named by a verb
/// phrase, as in [`StoreError`].
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
        write(&mut lock(tables));
        Ok(())
    }

    /// Returns whether a payment that loses is kept although no writer saw it; true by default.
    fn keeps_unseen_payments(&self) -> bool {
        true
    }

    /// Returns the part of the dead-letter store that scans cannot read, as the start of its ids.
    fn unreadable_part(&self) -> Option<String> {
        None
    }
}

impl Interceptor for () {}

/// A store in memory that merges writes as Cassandra does.
#[derive(Default)]
pub struct MemoryStore<I = ()> {
    /// Stands between the ports and the tables.
    pub interceptor: I,
    tables: Arc<Mutex<Tables>>,
}

impl<I> MemoryStore<I> {
    /// Returns a store that starts with these tables.
    pub fn new(interceptor: I, tables: Tables) -> Self {
        Self { interceptor, tables: Arc::new(Mutex::new(tables)) }
    }

    /// Returns a store on the same tables with another interceptor.
    pub fn sharing<J>(&self, interceptor: J) -> MemoryStore<J> {
        MemoryStore { interceptor, tables: Arc::clone(&self.tables) }
    }

    /// Locks the tables, to read or change them past the interceptor.
    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        lock(&self.tables)
    }
}

impl<I: Interceptor> MemoryStore<I> {
    async fn read<T>(&self, what: &'static str, read: impl FnOnce(&Tables) -> T) -> Result<T, StoreError> {
        self.interceptor.read(what, &self.tables).await?;
        Ok(read(&self.tables()))
    }

    /// Streams rows that are read at once, when the stream is first polled.
    fn scan<'a, T: Send + 'a>(
        &'a self,
        what: &'static str,
        read: impl FnOnce(&Tables) -> Vec<T> + Send + 'a,
    ) -> BoxStream<'a, Result<T, StoreError>> {
        stream::once(self.read(what, read)).map_ok(|rows| stream::iter(rows).map(Ok)).try_flatten().boxed()
    }

    async fn write(
        &self,
        what: &'static str,
        write: impl FnOnce(&mut Tables) + Send + 'static,
    ) -> Result<(), StoreError> {
        self.interceptor.write(what, &self.tables, Box::new(write)).await
    }
}

/// Locks the tables; a test that panicked in an interceptor leaves them usable.
fn lock(tables: &Mutex<Tables>) -> MutexGuard<'_, Tables> {
    tables.lock().unwrap_or_else(PoisonError::into_inner)
}
