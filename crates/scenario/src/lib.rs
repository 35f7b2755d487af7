//! Seeded scenarios: what the producers publish, and what table and dead-letter store must hold afterwards.
//!
//! Every record's content is derived from `(seed, order_id)` alone, so two producers agree without
//! talking, in any order and over any part of the range. A [`Manifest`], written before the first
//! publish, names what a run publishes; [`Units`] recomputes from manifests what was published;
//! [`verify()`] holds that against the store: nothing lost, nothing invented, nothing mixed.

mod body;
mod case;
mod draw;
pub mod generate;
mod invalid;
pub mod manifest;
#[cfg(test)]
mod memory;
mod mixture;
mod planned;
pub mod reference;
pub mod units;
mod verification;
pub mod verify;

pub use case::Case;
pub use generate::{Plan, PlanError, order_events, payment_events};
pub use invalid::Defect;
pub use manifest::{Manifest, ManifestError, Source, Streams};
pub use mixture::{Mixture, MixtureError};
pub use planned::{Content, Planned};
pub use reference::Reference;
pub use units::{Decode, Units};
pub use verification::{Difference, Fault, StreamCounts, Verification};
pub use verify::verify;
