//! The admin server of a process, where the configuration has an address for it.

use std::borrow::Cow;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::context::Context;
use super::exit::CliError;
use super::role_handle::RoleHandle;
use ecom_telemetry::admin::AdminServer;
use ecom_telemetry::metrics::registry;

/// Does the work of these roles, from connecting to closing, while the admin server serves their metrics and
/// readiness. An address that cannot be bound is a usage error.
pub(crate) async fn run_with_admin<T>(
    context: &Context,
    roles: &[&RoleHandle],
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let dead_letter_gauges = roles.iter().find_map(|role| role.dead_letter_gauges.clone());
    let metrics = roles.iter().map(|role| Arc::clone(&role.metrics)).collect();
    let roles: Vec<RoleHandle> = roles.iter().map(|&role| role.clone()).collect();
    let (stop, startup) = (context.stop.clone(), context.startup.clone());
    let not_ready = move || {
        if stop.is_cancelled() {
            return Some("draining".into());
        }
        let in_outage = || roles.iter().any(RoleHandle::in_outage);
        let outage = || in_outage().then_some("bus or store does not answer".into());
        startup.pending().map(Cow::Owned).or_else(outage)
    };
    // On the heap: the futures of some roles are so large that another copy of them does not fit on the stack.
    serve_while(context, || registry(metrics, dead_letter_gauges), not_ready, Box::pin(work)).await
}

/// Does work while the admin server serves the metrics of a registry, and the readiness of the process: `not_ready` says why
/// it is not ready. Without an address the registry is not made.
pub(crate) async fn serve_while<T>(
    context: &Context,
    registry: impl FnOnce() -> Registry,
    not_ready: impl Fn() -> Option<Cow<'static, str>> + Send + Sync + 'static,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let Some(listen) = &context.config.admin.listen else { return work.await };
    let server = AdminServer::bind(listen).await.map_err(|error| {
        CliError::usage(format!("could not listen on {listen} for the admin port: {error}"))
    })?;
    if let Ok(address) = server.local_addr() {
        tracing::info!("serving /livez, /readyz and /metrics on http://{address}");
    }
    tokio::select! {
        biased;
        outcome = work => outcome,
        never = server.serve(registry(), not_ready) => match never {},
    }
}
