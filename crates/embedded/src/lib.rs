//! The embedded bus and store: one `SQLite` file, with the same guarantees as Pub/Sub and Cassandra.
//!
//! Several processes may share the file. Each has one engine thread that owns its connection and commits all
//! waiting jobs in one transaction. Any process may be killed at any moment: every acknowledged write is on
//! disk, and its leased messages are redelivered when their leases expire.
//!
//! Other crates may keep tables of their own in the file: a [`SchemaExtension`] creates them, and
//! [`Embedded::read`], [`Embedded::write`] and [`Embedded::pages`] run their statements, which they write with
//! the [`rusqlite`] of this crate.

mod bus;
mod columns;
mod database;
mod dead_letters;
mod embedded;
mod engine;
mod extension;
mod facts;
mod file_identity;
mod job;
mod open_error;
mod operations;
mod options;
mod outstanding;
mod pages;
mod publisher;
mod receive_loop;
mod receive_transaction;
mod remove;
mod schema;
mod settings;
mod superseded;
#[cfg(test)]
mod testing;
mod topic_notifier;

pub use embedded::{Embedded, FILE_NAME, open};
pub use extension::SchemaExtension;
pub use open_error::OpenError;
pub use options::{Absent, ByteLimits, Options, Route};
pub use remove::{RemoveError, remove};
pub use rusqlite;
pub use settings::EmbeddedSettings;
