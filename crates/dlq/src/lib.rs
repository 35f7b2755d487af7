//! The dead-letter core: triage, inspection and bulk operations on dead letters, as functions that take a
//! selection and return values that serialise. It works on the store and bus ports alone, so it behaves the
//! same on every store, from any host, while handlers and other operators work. A front end (the command
//! line, an HTTP console) turns the values into text and the [next actions](next_action) into commands.

mod actions;
pub mod body;
pub mod body_difference;
pub mod correct;
mod correction_claims;
pub mod execute;
pub mod fact_summary;
pub mod forecast;
pub mod history;
pub mod identify;
pub mod list;
pub mod next_action;
pub mod outcome_counts;
pub mod plan;
pub mod report;
pub mod role_status;
pub mod row;
pub mod selection;
pub mod show;
pub mod timeline;
pub mod times;
pub mod triage;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use ecom_clock::{Clock, Entropy};
use ecom_pipeline::actor::Actor;
use ecom_pipeline::durable::Retrier;
use ecom_store::{DeadLetterStore, FactStore, OperationsStore};

/// The stores that dead letters are inspected and changed in, and who does so. All functions of this crate
/// are its methods.
#[derive(Clone)]
pub struct DeadLetterQueue {
    /// The fact table.
    pub facts: Arc<dyn FactStore>,
    /// The dead-letter store.
    pub dead_letter_store: Arc<dyn DeadLetterStore>,
    /// Heartbeats and bulk operations.
    pub operations: Arc<dyn OperationsStore>,
    /// Retries reads and writes during an outage.
    pub retrier: Arc<Retrier>,
    /// Wall time, for ages and the history.
    pub clock: Clock,
    /// The random part of operation ids.
    pub entropy: Arc<Entropy>,
    /// The person or role that the history names.
    pub actor: Actor,
    /// The errors of the parts of the dead-letter store that could not be read and were passed over.
    pub unreadable: Arc<Mutex<BTreeSet<String>>>,
    /// The most concurrent lookups in the fact table.
    pub window: usize,
}
