//! The command lines: help, configuration, refusals, and exit codes.

mod config;
#[cfg(feature = "embedded")]
mod flags;
mod help;
#[cfg(any(feature = "embedded", all(feature = "pubsub", feature = "cassandra")))]
mod refusals;
