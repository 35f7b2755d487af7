//! All integration tests in one binary: it is linked once, and its modules share the services.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "the harness shows what a test printed")]
#![allow(unreachable_pub, reason = "a test binary has no other users")]

#[cfg(feature = "embedded")]
mod bulk_operations;
mod cli;
#[cfg(feature = "embedded")]
#[allow(dead_code, reason = "the tests of the codec use the rest")]
#[path = "../../crates/codec/tests/card_numbers/exposed.rs"]
mod exposed;
mod house;
mod metrics;
mod processes;
#[cfg(feature = "embedded")]
mod reading;
#[cfg(all(feature = "cassandra", any(feature = "embedded", feature = "pubsub")))]
mod services;
mod waiting;
