//! Starting to send traces, and ending it.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{WithExportConfig, WithTonicConfig, tonic_types::transport::ClientTlsConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanExporter};

use super::exporter::QueueProcessor;
use super::ids::Ids;
use super::{StartError, TraceNames, TraceSettings};

/// The source of spans, once traces are on.
static ACTIVE: OnceLock<Active> = OnceLock::new();

/// The source of spans.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) tracer: SdkTracer,
    pub(super) sample_ratio: f64,
    pub(super) names: TraceNames,
}

/// Returns what makes spans; `None` while traces are off.
#[inline]
pub(super) fn active() -> Option<&'static Active> {
    ACTIVE.get()
}

/// Returns true once traces are [started](start).
#[inline]
pub fn is_on() -> bool {
    ACTIVE.get().is_some()
}

/// The sending of traces.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends the spans that have ended, for this time at most, and makes no more.
    pub fn finish(self, limit: Duration) {
        if self.0.shutdown_with_timeout(limit).is_err() {
            tracing::warn!("the last spans were not sent: the collector did not take them within {limit:?}");
        }
    }
}

/// Starts to make spans and to send them. A process can do so once.
pub fn start(settings: &TraceSettings) -> Result<Traces, StartError> {
    let TraceSettings { endpoint, sample_ratio, names } = settings.clone();
    let shown = endpoint.clone();
    let connect = move || {
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic();
        let exporter = match endpoint.starts_with("https://") {
            true => exporter.with_tls_config(ClientTlsConfig::new().with_enabled_roots()),
            false => exporter,
        };
        exporter.with_endpoint(endpoint).build().map_err(|error| error.to_string())
    };
    start_with(connect, shown, sample_ratio, names)
}

/// Starts with the exporter that `connect` returns, called on the thread that sends.
pub(super) fn start_with<E: SpanExporter + 'static>(
    connect: impl FnOnce() -> Result<E, String> + Send + 'static,
    endpoint: String,
    sample_ratio: f64,
    names: TraceNames,
) -> Result<Traces, StartError> {
    let processor = QueueProcessor::start(connect, endpoint, &resource(&names)).map_err(StartError)?;
    // Whether a trace is sampled is decided before its first span is made.
    let provider =
        SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOn).with_id_generator(Ids::default());
    let provider = provider.with_span_processor(processor).build();
    let active = Active { tracer: provider.tracer("ecom"), sample_ratio, names };
    ACTIVE.set(active).map_err(|_| StartError("traces have been started before".to_owned()))?;
    Ok(Traces(provider))
}

/// Returns what all spans have in common.
fn resource(names: &TraceNames) -> Resource {
    let resource = Resource::builder().with_attributes([
        KeyValue::new("service.namespace", "ecom"),
        KeyValue::new("service.version", names.version),
        KeyValue::new("service.instance.id", names.instance.clone()),
    ]);
    // The variable is read by the builder.
    match std::env::var_os("OTEL_SERVICE_NAME") {
        Some(_) => resource.build(),
        None => resource.with_service_name(names.service.clone()).build(),
    }
}
