//! The pipeline over its ports: consuming and applying events, recording and retrying dead letters,
//! publishing.

pub mod actor;
pub mod apply_check;
mod attempt;
pub mod concurrency_limit;
pub mod consume;
pub mod dead_letter_gauges;
pub mod dead_letter_intake;
pub mod dead_letter_publisher;
pub mod dead_letter_resolver;
mod delivery_counts;
pub mod disposition;
pub mod durable;
pub mod early_payments;
mod event_time_check;
mod groups_in_flight;
pub mod handler;
pub mod heartbeat;
pub mod order_locks;
pub mod orders;
pub mod pacer;
pub mod payments;
mod processor;
pub mod produce;
pub mod retries;
mod retry_groups;
pub mod retry_policy;
pub mod retry_queue;
mod retry_schedule;
pub mod stop_conditions;
pub mod summary;
pub mod sweep;
