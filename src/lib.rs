//! Orders and payments from Pub/Sub into one Cassandra fact table: nothing lost, nothing mixed,
//! every reject explained.

pub mod app;
pub mod bus;
pub mod clock;
pub mod codec;
pub mod config;
pub mod desk;
pub mod domain;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod metrics;
pub mod pipeline;
pub mod scenario;
pub mod store;
