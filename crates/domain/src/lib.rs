//! What the pipeline is about, as values and pure functions: no I/O, no clock, no runtime.

pub mod attributes;
pub mod backoff;
pub mod event_time;
pub mod fact;
pub mod heartbeat;
pub mod letter;
pub mod order;
pub mod outcome;
pub mod payment;
pub mod reason;
pub mod run;
pub mod verdict;
