//! Trying a letter now: the very attempt a handler makes.

use ecom_domain::letter::LetterId;
use ecom_pipeline::durable::Halt;
use ecom_pipeline::settler::{Occasion, Settler};

/// Tries an open letter, whatever its schedule; one that was discarded must be reopened first.
pub(super) async fn retry(settler: &Settler, id: &LetterId) -> Result<(), Halt> {
    settler.attempt(id, Occasion::Desk).await.map(drop)
}
