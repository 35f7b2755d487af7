//! Distributed traces, sent to a collector over OTLP where the feature `otlp` is built in and an endpoint is set. An event is
//! one trace: from its publishing to its row, and over the dead-letter topic to its recording and its retries.
//!
//! Only this module names OpenTelemetry. Spans have the names and attributes of its
//! [semantic conventions](https://opentelemetry.io/docs/specs/semconv/); none has a body, nor anything of one but ids. Of the
//! traces that begin here a share is sampled; a message says in its attribute `traceparent` whether its trace is, and
//! whoever receives it goes by that. A span that is not sampled is empty and costs a branch.

use ecom_domain::attributes::Attributes;

#[cfg(feature = "otlp")]
mod exporter;
#[cfg(feature = "otlp")]
mod ids;
#[cfg(not(feature = "otlp"))]
mod none;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(feature = "otlp")]
mod spans;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "otlp")]
mod traceparent;

#[cfg(not(feature = "otlp"))]
pub use none::{
    StoreCall, TraceScope, TraceSpan, Traces, current, delivery, group, is_on, publish, published_event,
    request, retry, start, store_call,
};
#[cfg(feature = "otlp")]
pub use otlp::{Traces, is_on, start};
#[cfg(feature = "otlp")]
pub use spans::{
    StoreCall, TraceScope, TraceSpan, current, delivery, group, publish, published_event, request, retry,
    store_call,
};

/// The attribute of a message, and the header of a request, that has the trace which they belong to: W3C Trace Context.
pub const TRACEPARENT: &str = "traceparent";

/// Settings of traces.
#[derive(Clone, PartialEq, Debug)]
pub struct TraceSettings {
    /// The URL of the collector, which takes OTLP over gRPC.
    pub endpoint: String,
    /// The share of traces beginning here that are sampled, 0 to 1.
    pub sample_ratio: f64,
    /// The names of what spans are about.
    pub names: TraceNames,
}

/// The names of what spans are about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceNames {
    /// The program: `service.name`, unless `OTEL_SERVICE_NAME` says otherwise.
    pub service: String,
    /// Its version.
    pub version: &'static str,
    /// The host and the process: `service.instance.id`.
    pub instance: String,
    /// The bus: `messaging.system`.
    pub bus: &'static str,
    /// The store: `db.system.name`.
    pub store: &'static str,
    /// The topics of orders, payments and dead letters, as they are configured.
    pub topics: [String; 3],
}

/// An error of [`start`].
#[derive(Debug)]
pub struct StartError(String);

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// A span that the calling code is in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CurrentSpan {
    /// The id of its trace, in hexadecimal.
    pub trace_id: String,
    /// Its id, in hexadecimal.
    pub span_id: String,
}

/// A received message, for its span.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedSpan<'m> {
    /// The short name of its subscription.
    pub subscription: &'m str,
    /// Its id.
    pub id: &'m str,
    /// Its delivery attempt; 0 if the bus does not count them.
    pub attempt: u32,
    /// Its attributes, of which [`TRACEPARENT`] counts.
    pub attributes: &'m Attributes,
}

/// A message that is published within a span.
#[derive(Debug)]
pub struct PublishedMessage {
    /// The span of its publishing; empty if its topic has no name here.
    pub span: TraceSpan,
    /// Its attributes with the trace, if they had none.
    pub attributes: Option<Attributes>,
}
