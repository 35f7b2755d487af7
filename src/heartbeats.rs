//! Which operations store a role's heartbeats go to.

use std::sync::Arc;

use super::context::{Context, host_name};
use super::roles::{RoleDeps, RoleHandle};
use super::wiring;
use ecom_clock::Clock;
use ecom_pipeline::heartbeat::{HeartbeatSource, beside as beating};
use ecom_store::OperationsStore;

/// Runs a role and writes its heartbeats to the store it works on.
pub(crate) async fn beside<T>(deps: &RoleDeps, handle: &RoleHandle, role: impl Future<Output = T>) -> T {
    let operations = Arc::clone(&deps.store.operations);
    beating(&heartbeat_source(handle, deps.clock), std::future::ready(operations), role).await
}

/// Runs a producer, which needs a bus only. Where that is not the store's file as well, the store is
/// connected for its heartbeats in the background, if it can be.
pub(crate) async fn beside_producer<T>(
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
    beating(&heartbeat_source(handle, context.clock), operations, role).await
}

fn heartbeat_source(handle: &RoleHandle, clock: Clock) -> HeartbeatSource {
    HeartbeatSource { host: host_name(), clock, metrics: Arc::clone(&handle.metrics) }
}
