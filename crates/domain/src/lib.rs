//! The values and pure decisions of the pipeline: no I/O, no clock, no runtime.

pub mod actual_outcome;
pub mod attributes;
pub mod backoff;
pub mod bulk_operation;
pub mod calendar;
pub mod dead_letter;
pub mod event_kind;
pub mod event_time;
pub mod fact;
pub mod heartbeat;
pub mod mutant;
pub mod order;
pub mod payment;
pub mod reason;
pub mod role;
mod serialize;
pub mod verdict;
