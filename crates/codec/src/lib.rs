//! Bytes to domain values and back. Errors say field and cause, never the body.

pub mod correction;
pub mod envelope;
pub mod event;
pub mod json;
pub mod screen;
