//! The store that a case runs on.

use std::any::Any;
use std::io::Write;
use std::ops::Deref;
use std::sync::Arc;

use futures_util::future::BoxFuture;

/// Opens one more handle on the same store, as another process would.
pub type Open<P> = Arc<dyn Fn() -> BoxFuture<'static, Arc<P>> + Send + Sync>;

/// A store under test, seen through the port `P`.
pub struct Subject<P: ?Sized> {
    port: Arc<P>,
    open: Open<P>,
    effort: u64,
    /// Dropped after the handle.
    _kept: Box<dyn Any + Send + Sync>,
}

impl<P: ?Sized> Subject<P> {
    /// Opens the first handle. `effort` is the share of the random schedules to run, in percent: less on a
    /// slow store. `kept` is dropped after the handle: the folder of the store, for example.
    pub async fn new(open: Open<P>, effort: u64, kept: impl Any + Send + Sync) -> Self {
        Self { port: open().await, open, effort, _kept: Box::new(kept) }
    }

    /// Opens one more handle.
    pub async fn another(&self) -> Arc<P> {
        (self.open)().await
    }

    /// Returns the number of random schedules to run of `all`; at least 1.
    pub(super) fn share_of(&self, all: u64) -> u64 {
        (all * self.effort / 100).max(1)
    }
}

impl<P: ?Sized> Deref for Subject<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.port
    }
}

/// Returns the address of a service from an environment variable such as `CASSANDRA_CONTACT_POINTS`. Without
/// it, prints `skipped: … is not set` and returns `None`.
///
/// # Panics
/// If the variable is not set although `REQUIRE_SERVICES` is (to anything but `0`).
pub fn service_address(variable: &str) -> Option<String> {
    let address = std::env::var(variable).ok().filter(|address| !address.is_empty());
    if address.is_none() {
        let required = std::env::var("REQUIRE_SERVICES").is_ok_and(|flag| !matches!(flag.as_str(), "" | "0"));
        assert!(!required, "REQUIRE_SERVICES is set, but {variable} is not");
        // Not `eprintln!`: the test harness hides the output of a passing test.
        writeln!(std::io::stderr(), "skipped: {variable} is not set").ok();
    }
    address
}
