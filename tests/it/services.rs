//! Which services there are, and names nobody else uses.
//!
//! A test whose service is absent says `skipped: … is not set` and passes; with `REQUIRE_SERVICES=1`
//! it fails.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// The Pub/Sub emulator's `host:port`.
#[cfg(feature = "pubsub")]
pub fn emulator() -> Option<String> {
    named("PUBSUB_EMULATOR_HOST")
}

/// A name that no other test of this or another running process has.
#[cfg(any(feature = "embedded", feature = "pubsub"))]
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(any(feature = "cassandra", feature = "pubsub"))]
fn named(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        let required = std::env::var("REQUIRE_SERVICES").is_ok_and(|flag| !matches!(flag.as_str(), "" | "0"));
        assert!(!required, "REQUIRE_SERVICES is set, but {variable} is not");
        // Not `eprintln!`: the harness swallows what a passing test prints with it.
        writeln!(std::io::stderr(), "skipped: {variable} is not set").ok();
    }
    value
}
