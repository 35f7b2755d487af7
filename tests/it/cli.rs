//! The command lines as people meet them: help, errors, exit codes, and what never happens.

mod config;
mod help;
#[cfg(any(feature = "embedded", all(feature = "pubsub", feature = "cassandra")))]
mod refusals;
