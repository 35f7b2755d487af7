//! Trying a dead letter now: the very attempt a handler makes.

use ecom_domain::dead_letter::DeadLetterId;
use ecom_pipeline::dead_letter_resolver::{AttemptTrigger, DeadLetterResolver};
use ecom_pipeline::durable::RoleError;

/// Tries an open dead letter, whatever its schedule; one that was discarded must be reopened first.
pub(super) async fn retry(resolver: &DeadLetterResolver, id: &DeadLetterId) -> Result<(), RoleError> {
    resolver.attempt(id, AttemptTrigger::Operator).await.map(drop)
}
