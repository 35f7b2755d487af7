//! Whether store and bus answered the last calls.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a call that failed counts if none follows. Whoever is sent no requests while it is not ready would otherwise
/// never be ready again.
const REMEMBERED: Duration = Duration::from_secs(10);

/// When the last call failed; `None` if it succeeded.
#[derive(Default)]
pub(crate) struct LastCall(Mutex<Option<Instant>>);

impl LastCall {
    /// Notes a call that succeeded.
    pub(crate) fn succeeded(&self) {
        self.set(None);
    }

    /// Notes a call that failed.
    pub(crate) fn failed(&self) {
        self.set(Some(Instant::now()));
    }

    /// Returns whether the last call failed, a short time ago.
    pub(crate) fn has_failed(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|failed| failed.elapsed() < REMEMBERED)
    }

    fn set(&self, failed: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }
}
