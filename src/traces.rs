//! Traces as the configuration says.

use std::sync::OnceLock;
use std::time::Duration;

use super::config::{Config, Loaded};
use super::context::host_name;
use super::exit::CliError;
use ecom_config::{BusKind, StoreKind};
use ecom_telemetry::traces::{self, TraceNames, TraceSettings, Traces};

/// The longest that sending the last spans may take.
const FINISH: Duration = Duration::from_secs(2);

/// The name of the running program.
static PROGRAM: OnceLock<String> = OnceLock::new();

/// Names the running program, for its spans.
pub(crate) fn set_program(name: &str) {
    // A process is one program.
    PROGRAM.set(name.to_owned()).ok();
}

/// Starts to send traces, where an endpoint is set.
pub(crate) fn start(loaded: &Loaded) -> Result<Option<Traces>, CliError> {
    let config = &loaded.config;
    let Some(endpoint) = &config.traces.otlp_endpoint else { return Ok(None) };
    if !cfg!(feature = "otlp") {
        let fault = loaded.fault("traces.otlp_endpoint", "is set, but this build sends no traces");
        return Err(CliError::usage(fault.to_string()).hint("build with --features otlp"));
    }
    let settings = TraceSettings {
        endpoint: endpoint.clone(),
        sample_ratio: config.traces.sample_ratio,
        names: names(config),
    };
    let started = traces::start(&settings).map_err(|error| {
        let fault = loaded.fault("traces.otlp_endpoint", &format!("cannot be used: {error}"));
        CliError::usage(fault.to_string())
    })?;
    tracing::info!("sending traces to {endpoint}");
    Ok(Some(started))
}

/// Sends the spans that are left.
pub(crate) fn finish(started: Option<Traces>) {
    if let Some(traces) = started {
        traces.finish(FINISH);
    }
}

fn names(config: &Config) -> TraceNames {
    let topics = &config.bus.topics;
    TraceNames {
        service: PROGRAM.get().map_or_else(|| "ecom".to_owned(), String::clone),
        version: env!("CARGO_PKG_VERSION"),
        instance: format!("{}-{}", host_name(), std::process::id()),
        bus: match config.bus.kind {
            BusKind::Pubsub => "gcp_pubsub",
            BusKind::Embedded => "embedded",
        },
        store: match config.store.kind {
            StoreKind::Cassandra => "cassandra",
            StoreKind::Embedded => "sqlite",
        },
        topics: [&topics.orders, &topics.payments, &topics.dead_letters].map(String::clone),
    }
}
