//! The store on Apache Cassandra.
//!
//! `schema.cql` is the only description of the schema. [`provision`] applies it; all other code checks it
//! when connecting and never runs DDL. Every statement is idempotent and binds its write timestamp, so that
//! repeating it changes nothing. Callers repeat statements; the driver does not.
#![allow(
    clippy::result_large_err,
    reason = "the errors of the driver are large; those of the ports box them"
)]

mod columns;
mod connect_error;
mod connection_fault;
mod credentials;
mod dead_letters;
mod errors;
mod facts;
mod groups;
mod operations;
mod owners;
mod pages;
pub mod provision;
mod registrations;
mod replication;
mod rights;
mod schema;
mod schema_check;
mod session;
mod settings;
mod statements;
mod store;
mod superseded;
#[cfg(test)]
mod testing;
mod tls;
pub mod values;

pub use connect_error::ConnectError;
pub use errors::StatementError;
pub use pages::Page;
pub use schema::{Column, ColumnKind, Schema, Table};
pub use schema_check::SchemaDifference;
pub use settings::CassandraSettings;
pub use store::CassandraStore;
