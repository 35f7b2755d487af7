//! The end of a role: drained within the grace period, the bus closed.

use std::time::Duration;

use super::context::Context;
use super::exit::CliError;
use super::role_handle::RoleHandle;
use ecom_bus::Bus;
use ecom_telemetry::stderr;

/// The longest that closing the bus may take once everything in flight is finished.
const CLOSE: Duration = Duration::from_secs(2);

/// Runs a role until it ends by itself, or until a signal stops it and it has drained.
/// A role that does not drain within the grace period is an error.
pub(crate) async fn run_until_drained(
    context: &Context,
    handle: &RoleHandle,
    role: impl Future<Output = Result<(), CliError>>,
) -> Result<(), CliError> {
    let mut role = std::pin::pin!(role);
    tokio::select! {
        biased;
        outcome = &mut role => return outcome,
        () = context.stop.cancelled() => {}
    }
    let grace = context.config.shutdown.grace_period;
    let shown = humantime::format_duration(grace);
    let in_flight = || handle.metrics.in_flight.get();
    stderr::say(format_args!("draining {} in flight, up to {shown}; Ctrl-C again to stop now", in_flight()));
    tokio::time::timeout(grace, role).await.unwrap_or_else(|_| {
        let left = in_flight();
        Err(CliError::failed(format!("the grace period of {shown} ran out with {left} in flight"))
            .hint("the bus delivers them again on the next start"))
    })
}

/// Closes the bus; one that does not answer in time is left open.
pub(crate) async fn close(bus: &dyn Bus) {
    if tokio::time::timeout(CLOSE, bus.close()).await.is_err() {
        tracing::warn!("could not close {}: it did not answer within {CLOSE:?}", bus.describe());
    }
}
