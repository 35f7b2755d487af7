//! The shop's store on Apache Cassandra.
//!
//! The records of orders and payments, and products with their reservations, are written by lightweight transactions only
//! (`IF NOT EXISTS`, `IF revision = …`, `IF version = …`), so that of several processes that write one of them at once, one
//! does and the others see what it wrote. Beside them are lists of hints, written by plain statements to a table of their
//! own: a hint is written before the record or the move that makes it true, and checked when it is read, so that a process
//! may end in between. Carts are written by plain statements, too: each line is a last-writer-wins register.
//!
//! The session, the check of the schema and the classes of errors are those of `ecom_store_cassandra`.
#![allow(
    clippy::result_large_err,
    reason = "the errors of the driver are large; those of the ports box them"
)]

mod carts;
mod cells;
mod conditional;
mod inventory;
#[cfg(test)]
#[path = "../tests/fixture/keyspace.rs"]
mod keyspace;
mod lists;
mod orders;
mod payments;
mod registered_hours;
mod statements;
mod store;

pub use store::CassandraShop;
