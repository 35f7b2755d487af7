//! The metrics of a load on the admin port.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::admin::serve_while;
use crate::context::Context;
use crate::exit::CliError;
use ecom_shop_load::counts::LoadCounts;
use ecom_telemetry::metrics::registry;

/// The quantiles of the time to the answer.
const QUANTILES: [(&str, f64); 4] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99), ("1", 1.0)];

/// Does work while the admin server serves these counts, where the configuration has an address for it.
pub(super) async fn run_with_metrics<T>(
    context: &Context,
    counts: &Arc<LoadCounts>,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let metrics = Box::new(LoadMetrics(Arc::clone(counts)));
    let registry = || {
        let mut registry = registry(Vec::new(), None);
        registry.register_collector(metrics);
        registry
    };
    let stop = context.stop.clone();
    let not_ready = move || stop.is_cancelled().then(|| "draining".into());
    serve_while(context, registry, not_ready, work).await
}

/// The counts of a load.
#[derive(Debug)]
struct LoadMetrics(Arc<LoadCounts>);

impl Collector for LoadMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = &self.0;
        let help = "Requests, each with a key of its own, by what became of them";
        let mut family = encoder.encode_descriptor("load_requests", help, None, MetricType::Counter)?;
        for (outcome, count) in
            [("recorded", &counts.recorded), ("failed", &counts.failed), ("unanswered", &counts.unanswered)]
        {
            let labels = [("outcome", outcome)];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count.get(), None)?;
        }
        let help = "HTTP requests sent";
        let mut family = encoder.encode_descriptor("load_http_requests", help, None, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, _, u64>(&counts.sent.get(), None)?;
        let help = "HTTP requests repeated, because there was no answer or one that asks for it";
        let mut family = encoder.encode_descriptor("load_repetitions", help, None, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, _, u64>(&counts.repeated.get(), None)?;
        let help = "Time to the answer since the start, repetitions included, by quantile";
        let mut family =
            encoder.encode_descriptor("load_latency", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for (quantile, share) in QUANTILES {
            let seconds = counts.took.at(share).as_secs_f64();
            family.encode_family(&[("quantile", quantile)])?.encode_gauge(&seconds)?;
        }
        Ok(())
    }
}
