//! Apache Cassandra.
//!
//! `schema.cql` is the only description of the schema; `provision` applies it, every other part
//! checks it at its start and never runs DDL. Statements carry T as a bound value and are
//! idempotent, so repeating one changes nothing; the callers repeat them, the driver does not.
#![allow(clippy::result_large_err, reason = "the driver's errors are; the port's error boxes them")]

mod dead_letters;
mod errors;
mod facts;
mod operations;
mod pages;
pub mod provision;
mod schema;
mod session;
mod settings;
mod statements;
mod upgrade;
pub mod values;

pub use schema::{Column, ColumnKind, Schema, Table};
pub use session::{CassandraStore, ConnectError, Trouble};
pub use settings::{CassandraSettings, Credentials, Replication, Secret, Tls};

#[cfg(test)]
mod testing;
