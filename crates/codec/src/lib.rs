//! Message bodies to domain values and back: order and payment bodies in JSON, the attributes of a dead
//! letter, and the screening of bodies for card numbers.
//!
//! Modules depend on each other in one direction: `contract` ← `screen` ← `json` ← `envelope` ← `correction`.
//! Errors name field and cause, never a value of the body.

pub mod body;
pub mod contract;
pub mod correction;
pub mod envelope;
pub mod event;
pub mod json;
mod rejection;
pub mod screen;

pub use rejection::Rejection;
