//! The API on a store in memory and a bus that keeps what is published, both with faults.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod answer;
mod carts;
mod checkout;
mod confirmation;
mod connections;
mod description;
mod hostile;
mod idempotency;
mod inventory;
mod limits;
mod logs;
mod metrics;
mod orders;
mod pages;
mod payments;
mod preview;
mod problems;
mod products;
mod world;
