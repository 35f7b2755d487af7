//! Heartbeats of a role, written to the operations store.

use std::sync::Arc;

use super::context::{Context, host_name};
use super::role_handle::RoleHandle;
use super::wiring;
use ecom_clock::Clock;
use ecom_pipeline::heartbeat::{self, HeartbeatSource};
use ecom_store::OperationsStore;

/// Runs a role with its heartbeats in the store it works on.
pub(crate) async fn run_with_heartbeat<T>(
    handle: &RoleHandle,
    clock: Clock,
    operations: &Arc<dyn OperationsStore>,
    role: impl Future<Output = T>,
) -> T {
    let operations = std::future::ready(Arc::clone(operations));
    heartbeat::run_with_heartbeat(&source(handle, clock), operations, role).await
}

/// Runs a producer, which needs a bus only, with its heartbeats. Where the bus is not the store as well, the
/// store is connected in the background; a store that cannot be reached gets no heartbeats.
pub(crate) async fn run_producer_with_heartbeat<T>(
    context: &Context,
    handle: &RoleHandle,
    operations: Option<Arc<dyn OperationsStore>>,
    role: impl Future<Output = T>,
) -> T {
    let operations = async {
        match operations {
            Some(operations) => operations,
            None => wiring::operations(context).await,
        }
    };
    heartbeat::run_with_heartbeat(&source(handle, context.clock), operations, role).await
}

fn source(handle: &RoleHandle, clock: Clock) -> HeartbeatSource {
    HeartbeatSource { host: host_name(), clock, metrics: Arc::clone(&handle.metrics) }
}
