//! Load and proof against a small HTTP server that records, and misbehaves as it is told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fake_api;
mod load;
mod proof;
