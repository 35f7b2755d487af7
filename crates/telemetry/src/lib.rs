//! Metrics, traces, logs, lines on stderr, and the admin server that serves metrics and health.

pub mod admin;
pub mod foreign_text;
mod gcp;
pub mod logs;
pub mod metrics;
pub mod quantiles;
mod repeated_lines;
pub mod stderr;
pub mod traces;
