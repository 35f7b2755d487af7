//! What one event costs in the pipeline itself: the real handlers, lanes and codec over a store that
//! answers at once, without any service.
//!
//! A path is prepared first and then done a number of times; only the doing is measured.
#![allow(clippy::disallowed_methods, reason = "it measures by the real clock and pauses no time")]

mod events;
mod facts;
mod letter;
mod path;
mod roles;
mod store_call;

pub use path::{Path, Work};

/// Does what was prepared. Never inlined: callgrind counts from here to its end, by this name.
#[inline(never)]
pub fn measured(work: Work) {
    work();
}

/// A share of what a number of events took altogether.
#[expect(clippy::cast_precision_loss, reason = "a count far below 2^53, printed with a few digits")]
pub fn per_event(total: u64, events: u64) -> f64 {
    total as f64 / events as f64
}
