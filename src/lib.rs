//! Orders and payments from Pub/Sub into one Cassandra fact table: nothing lost, nothing mixed,
//! every reject explained.
//!
//! A tour, in the order to read in:
//!
//! - [`domain`]: what an order, a payment, a fact and a dead letter are, and T, the clock that travels
//!   with each event. Pure: no I/O, no runtime.
//! - [`codec`]: bodies to borrowed events, and the envelope of a dead letter.
//! - [`bus`] and [`store`]: the ports. Behind them Pub/Sub ([`bus::pubsub`]), Cassandra
//!   ([`store::cassandra`]), and [`embedded`], one SQLite file that is both.
//! - [`pipeline`]: what happens to a message, once for all adapters: lanes, orders, payments, letters,
//!   retries, the sweep.
//! - [`scenario`]: seeded load, and the proof that table and ledger are what the seed says.
//! - [`desk`]: what on-call does with dead letters.
//! - [`config`] and [`app`]: settings with their origins, and the eight binaries.

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
