//! The bus that a case runs on.

use std::any::Any;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::Bus;

/// Opens one more handle on the same bus, as another process would.
pub type OpenBus = Arc<dyn Fn() -> BoxFuture<'static, Arc<dyn Bus>> + Send + Sync>;

/// A bus under test, with a topic and a subscription that no other case uses.
pub struct BusSubject {
    /// The first handle on the bus.
    pub bus: Arc<dyn Bus>,
    /// Opens further handles.
    pub open: OpenBus,
    /// The host, or the absolute path, that the bus must name in its description.
    pub location: String,
    /// A topic with one subscription: [`subscription`](Self::subscription).
    pub topic: String,
    /// The subscription on [`topic`](Self::topic).
    pub subscription: String,
    /// A topic without subscriptions.
    pub unsubscribed_topic: String,
    /// The shortest ack deadline that the bus grants.
    pub ack_deadline: Duration,
    /// The time to wait for what must happen; longer than several ack deadlines.
    pub patience: Duration,
    /// Dropped after the handles: the folder of the bus, for example.
    pub kept: Box<dyn Any + Send + Sync>,
}

impl BusSubject {
    /// Opens one more handle.
    pub async fn another(&self) -> Arc<dyn Bus> {
        (self.open)().await
    }
}

/// Returns a name that no other test of this or of another running process uses.
pub fn unique_name(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Returns the address of a service from an environment variable such as `PUBSUB_EMULATOR_HOST`. Without it,
/// prints `skipped: … is not set` and returns `None`.
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
