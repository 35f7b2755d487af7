//! The command lines: help, configuration, refusals, and exit codes.

mod config;
mod help;
#[cfg(any(feature = "embedded", all(feature = "pubsub", feature = "cassandra")))]
mod refusals;
