//! What a process tells about itself: metrics.

pub mod metrics;
