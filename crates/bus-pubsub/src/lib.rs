//! The bus on Google Pub/Sub, the service or its emulator.
//!
//! [`Pubsub::connect`] opens the bus. A subscription runs a number of streams (`subscribe`, `scale`), each
//! with a supervisor that reopens it (`supervise`). A publisher batches messages behind a window (`publish`).
//! [`provision`] checks and creates topics and subscriptions; [`print_gcloud`] and [`print_iam`] print the
//! commands that do.

mod clients;
mod connection;
#[cfg(test)]
mod emulator_tests;
mod error;
mod gcloud;
mod health;
mod intake;
mod message;
pub mod provision;
mod publish;
mod pubsub;
mod resources;
mod scale;
mod settings;
mod stream;
mod stream_activity;
mod stream_limits;
mod stream_pace;
mod stream_set;
mod subscribe;
mod supervise;

pub use gcloud::{BusUse, print_gcloud, print_iam};
pub use message::MAX_BODY_BYTES;
pub use pubsub::Pubsub;
pub use resources::{DesiredTopics, SubscribedTopic};
pub use settings::PubsubSettings;
