//! The dead-letter operator: why dead letters are there, what retrying each would do now, and every act a
//! human may take on them. All of it works on the ports, so it is the same on every store, from any
//! host, while handlers and other desks run.

pub mod body;
pub mod body_difference;
pub mod correct;
mod correction_claims;
pub mod diagnosis;
mod discard;
pub mod execute;
pub mod explain;
pub mod fact_text;
pub mod forecast;
mod history;
pub mod list;
pub mod next;
pub mod outcome_counts;
pub mod plan;
mod reopen;
pub mod report;
mod retry;
pub mod selection;
pub mod show;
pub mod triage;

use std::sync::Arc;

use ecom_clock::{Clock, Entropy};
use ecom_pipeline::actor::Actor;
use ecom_pipeline::durable::Retrier;
use ecom_store::{DeadLetterStore, FactStore, OperationsStore};

/// What the operator stands on.
#[derive(Clone)]
pub struct DeadLetterQueue {
    /// The fact table.
    pub facts: Arc<dyn FactStore>,
    /// The dead-letter store.
    pub dead_letter_store: Arc<dyn DeadLetterStore>,
    /// Heartbeats and runs.
    pub operations: Arc<dyn OperationsStore>,
    /// How outages are waited out.
    pub retrier: Arc<Retrier>,
    /// Wall time, for ages and the history.
    pub clock: Clock,
    /// The random part of ids.
    pub entropy: Arc<Entropy>,
    /// Who acts, in the history.
    pub actor: Actor,
    /// Lookups in the fact table at once: the store's window.
    pub window: usize,
}
