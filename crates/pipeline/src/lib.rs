//! What happens to a message, written once over the ports.

pub mod apply_check;
pub mod concurrency_limit;
pub mod consume;
pub mod dead_letter_gauges;
pub mod dead_letter_intake;
pub mod dead_letter_publisher;
pub mod dead_letter_resolver;
pub mod disposition;
pub mod durable;
pub mod early_payments;
pub mod heartbeat;
pub mod order_locks;
pub mod orders;
pub mod payments;
pub mod produce;
pub mod retries;
pub mod summary;
pub mod sweep;
