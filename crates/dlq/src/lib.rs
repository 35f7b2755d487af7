//! The dead-letter desk: why letters are there, what retrying each would do now, and every act a
//! human may take on them. All of it works on the ports, so it is the same on every store, from any
//! host, while handlers and other desks run.

pub mod body;
pub mod cause;
mod claims;
pub mod correct;
pub mod difference;
mod discard;
pub mod explain;
pub mod fact_text;
mod history;
pub mod list;
pub mod next;
pub mod outlook;
pub mod plan;
mod reopen;
pub mod report;
mod retry;
pub mod run;
pub mod selection;
pub mod show;
pub mod tally;
pub mod triage;

use std::sync::Arc;

use ecom_clock::{Chance, Clock};
use ecom_pipeline::durable::Retrying;
use ecom_pipeline::letters::Actor;
use ecom_store::{FactStore, Journal, Ledger};

/// What the desk stands on.
#[derive(Clone)]
pub struct Desk {
    /// The fact table.
    pub facts: Arc<dyn FactStore>,
    /// The ledger of dead letters.
    pub ledger: Arc<dyn Ledger>,
    /// Heartbeats and runs.
    pub journal: Arc<dyn Journal>,
    /// How outages are waited out.
    pub retrying: Arc<Retrying>,
    /// Wall time, for ages and the history.
    pub clock: Clock,
    /// The random part of ids.
    pub chance: Arc<Chance>,
    /// Who acts, in the history.
    pub actor: Actor,
    /// Lookups in the fact table at once: the store's window.
    pub window: usize,
}
