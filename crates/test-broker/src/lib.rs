//! A Pub/Sub broker for tests. It speaks gRPC on a TCP port, keeps a lease for each delivery, honours flow
//! control and forgets a stream when it closes, as the service does and the emulator does not. Faults are
//! injected as lines of text; [`Command`](command::Command) lists them.
//!
//! The executable `test_broker` serves as a process of its own.

mod admin;
mod answers;
mod broker;
mod calls;
pub mod command;
mod connection;
mod faults;
mod streaming_pull;
mod subscription;
mod topics;

pub use broker::{SubscriptionReport, TestBroker};
