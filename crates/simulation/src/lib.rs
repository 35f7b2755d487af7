//! The real pipeline over a simulated bus and store, on paused time and with seeded randomness: whatever
//! crashes, times out, arrives twice or is out of order, every interleaving must end with the same facts and
//! dead letters.
#![allow(clippy::print_stdout, reason = "the program prints its report")]

pub mod broker;
pub mod conditions;
pub mod crash_points;
pub mod faults;
pub mod final_state;
pub mod foreign;
pub mod operators;
pub mod oracle;
pub mod role_bus;
pub mod roles;
pub mod runner;
pub mod running_role;
pub mod schedules;
pub mod store;
pub mod world;
