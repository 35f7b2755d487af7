//! The spans of a test, in memory.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::Value;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use super::otlp::start_with;
use super::{TraceNames, Traces};

/// A span that has ended.
#[derive(Clone, PartialEq, Debug)]
pub struct CollectedSpan {
    /// The id of its trace, in hexadecimal.
    pub trace_id: String,
    /// Its id, in hexadecimal.
    pub span_id: String,
    /// The id of its parent; zeros if it has none.
    pub parent_id: String,
    /// Its name.
    pub name: String,
    /// Its kind: `Producer`, `Consumer`, `Client`, `Server` or `Internal`.
    pub kind: String,
    /// Its attributes.
    pub attributes: Vec<(String, String)>,
    /// True if it failed.
    pub is_error: bool,
}

impl CollectedSpan {
    /// Returns the value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// The spans of a process.
#[derive(Clone, Default, Debug)]
pub struct CollectedSpans(Arc<Mutex<Vec<CollectedSpan>>>);

impl CollectedSpans {
    /// Starts to collect the spans of this process; a share of the traces that begin in it.
    pub fn start(sample_ratio: f64) -> (Self, Traces) {
        let collected = Self::default();
        let exporter = collected.clone();
        let names = TraceNames {
            service: "test".to_owned(),
            version: "0",
            instance: "test".to_owned(),
            bus: "gcp_pubsub",
            store: "cassandra",
            topics: ["orders_data", "payments_data", "dlq_payments_data"].map(str::to_owned),
        };
        let started = start_with(move || Ok(exporter), "memory".to_owned(), sample_ratio, names);
        (collected, started.expect("a process starts traces once"))
    }

    /// Ends the collecting, and returns the spans in the order in which they ended.
    pub fn finish(&self, traces: Traces) -> Vec<CollectedSpan> {
        traces.finish(Duration::from_secs(10));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl SpanExporter for CollectedSpans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.into_iter().map(|span| CollectedSpan {
            trace_id: span.span_context.trace_id().to_string(),
            span_id: span.span_context.span_id().to_string(),
            parent_id: span.parent_span_id.to_string(),
            name: span.name.into_owned(),
            kind: format!("{:?}", span.span_kind),
            attributes: span.attributes.iter().map(|it| (it.key.to_string(), text(&it.value))).collect(),
            is_error: matches!(span.status, opentelemetry::trace::Status::Error { .. }),
        });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(spans);
        Ok(())
    }
}

fn text(value: &Value) -> String {
    value.as_str().into_owned()
}
