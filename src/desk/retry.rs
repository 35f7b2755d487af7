//! Trying a letter now: the very attempt a handler makes.

use crate::domain::letter::LetterId;
use crate::pipeline::durable::Halt;
use crate::pipeline::settler::{Occasion, Settler};

/// Tries an open letter, whatever its schedule; one that was discarded must be reopened first.
pub(super) async fn retry(settler: &Settler, id: &LetterId) -> Result<(), Halt> {
    settler.attempt(id, Occasion::Desk).await.map(drop)
}
