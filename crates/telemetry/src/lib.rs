//! What a process reports about itself: metrics, logs, and the admin server that serves its health.

pub mod admin;
pub mod logs;
pub mod metrics;
pub mod quantiles;
