//! Orders and payments from Pub/Sub into one Cassandra fact table: nothing lost, nothing mixed,
//! every reject explained.

pub mod bus;
pub mod clock;
pub mod domain;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod store;
