//! Which journal a role's heartbeats go to.

use std::sync::Arc;

use super::context::{Context, host_name};
use super::roles::{Gauges, Site};
use super::wiring;
use ecom_clock::Clock;
use ecom_pipeline::heartbeat::{Pulse, beside as beating};
use ecom_store::Journal;

/// Runs a role and writes its heartbeats to the store it works on.
pub(crate) async fn beside<T>(site: &Site, gauges: &Gauges, role: impl Future<Output = T>) -> T {
    let journal = Arc::clone(&site.store.journal);
    beating(&pulse(gauges, site.clock), std::future::ready(journal), role).await
}

/// Runs a producer, which needs a bus only. Where that is not the store's file as well, the store is
/// connected for its heartbeats in the background, if it can be.
pub(crate) async fn beside_producer<T>(
    context: &Context,
    gauges: &Gauges,
    journal: Option<Arc<dyn Journal>>,
    role: impl Future<Output = T>,
) -> T {
    let journal = async {
        match journal {
            Some(journal) => journal,
            None => wiring::journal(context).await,
        }
    };
    beating(&pulse(gauges, context.clock), journal, role).await
}

fn pulse(gauges: &Gauges, clock: Clock) -> Pulse {
    Pulse { host: host_name(), clock, metrics: Arc::clone(&gauges.metrics) }
}
