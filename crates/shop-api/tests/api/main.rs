//! The API on a store in memory and a bus that keeps what is published, both with faults.

mod access;
mod answer;
mod description;
mod hostile;
mod idempotency;
mod limits;
mod logs;
mod metrics;
mod pages;
mod payments;
mod problems;
mod sockets;
mod world;
