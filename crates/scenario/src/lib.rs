//! Seeded scenarios: the events that producers publish, and the verification of fact table and dead-letter
//! store afterwards.
//!
//! Every event is derived from `(seed, order_id)` alone, so two producers agree without communicating, in any
//! order and over any part of the range. A [`Manifest`], written before the first publish, says what a run
//! publishes. [`Units`] recomputes the published events from manifests, and [`verify()`] compares them with
//! the store: nothing lost, nothing invented, nothing mixed.

mod audit;
mod case;
mod draw;
mod event_times;
pub mod generate;
mod invalid;
pub mod manifest;
mod mixture;
mod planned;
pub mod reference;
#[cfg(test)]
mod snapshot;
pub mod units;
mod verification;
pub mod verify;

pub use case::OrderCase;
pub use event_times::EventTimes;
pub use generate::{MAX_COPY_DISTANCE, PlanError, ScenarioPlan, order_events, payment_events};
pub use invalid::Defect;
pub use manifest::{EventSource, Manifest, ManifestError, Streams};
pub use mixture::{Mixture, MixtureError};
pub use planned::{EventContent, PlannedEvent};
pub use reference::Reference;
pub use units::{DecodeBody, RecordedEvent, Units};
pub use verification::{Difference, DifferenceKind, StreamCounts, Verification};
pub use verify::verify;
