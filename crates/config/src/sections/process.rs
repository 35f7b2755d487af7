//! `[connect]`, `[shutdown]`, `[admin]`, `[log]`, `[traces]`: settings of every process.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::super::fields::{self, HOUR, MS, SECOND, duration, host_and_port_or_none, share};
use super::super::hosts;

/// Connecting at the start.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectConfig {
    /// Time limit for reaching bus and store at the start, 1 ms to 1 h; 30 s by default. Does not apply to a
    /// role with an admin port.
    #[serde(deserialize_with = "duration::<_, MS, HOUR>")]
    pub timeout: Duration,
    /// Time that the store may refuse the login or the certificate of a running role, 1 s to 1 h; 5 min by
    /// default.
    #[serde(deserialize_with = "duration::<_, SECOND, HOUR>")]
    pub refusal_timeout: Duration,
}

/// Stopping.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShutdownConfig {
    /// Time limit of a stopping process for the deliveries in flight, 1 ms to 1 h; 25 s by default.
    #[serde(deserialize_with = "duration::<_, MS, HOUR>")]
    pub grace_period: Duration,
}

/// The port for probes and metrics.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Address to listen on, `host:port`; `None` (the default) opens no port.
    #[serde(deserialize_with = "host_and_port_or_none")]
    pub listen: Option<String>,
}

/// Log lines on stderr.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// The format of a line; text by default.
    pub format: LogFormat,
    /// The lines that are written, in the syntax of `RUST_LOG`; not empty, `info` by default.
    #[serde(deserialize_with = "filter")]
    pub filter: String,
    /// The use of colour; automatic by default.
    pub color: Color,
}

/// Formats of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
    /// One JSON object per line, as Google Cloud Logging reads it.
    Gcp,
}

/// Uses of colour on stderr.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// Only on a terminal.
    Auto,
    /// Always.
    Always,
    /// Never; `NO_COLOR` sets it.
    Never,
}

/// Traces sent to a collector.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracesConfig {
    /// URL of a collector that takes OTLP over gRPC; `None` (the default) sends no traces.
    #[serde(deserialize_with = "endpoint")]
    pub otlp_endpoint: Option<String>,
    /// Share of the traces beginning in this process that are sent, 0.0 to 1.0; 0.01 by default.
    #[serde(deserialize_with = "share")]
    pub sample_ratio: f64,
}

/// Reads `http://HOST:PORT` or `https://HOST:PORT`, with a slash at the end or without; `None` for empty text.
fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    fields::checked(deserializer, |text| {
        if text.is_empty() {
            return Ok(None);
        }
        let place = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let place = place.map(|place| place.strip_suffix('/').unwrap_or(place));
        match place.map(hosts::host_and_port) {
            Some(Ok(_)) => Ok(Some(text)),
            _ => Err(format!("must be a URL such as \"http://127.0.0.1:4317\", is \"{text}\"")),
        }
    })
}

fn filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    fields::checked(deserializer, |text| match text.trim() {
        "" => Err("must not be empty, use \"off\" for no lines".to_owned()),
        text => Ok(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::load_sets;

    #[test]
    fn an_endpoint_is_a_url_with_a_host_and_a_port() {
        let endpoint = |url: &str| {
            let set = format!("traces.otlp_endpoint={url}");
            load_sets(&[&set]).map(|loaded| loaded.config.traces.otlp_endpoint)
        };
        assert_eq!(endpoint(""), Ok(None));
        for url in ["http://127.0.0.1:4317", "https://otlp.example.com:443", "http://[::1]:4317/"] {
            assert_eq!(endpoint(url), Ok(Some(url.to_owned())));
        }
        for url in
            ["127.0.0.1:4317", "http://", "http://collector", "grpc://collector:4317", "http://a:1/v1/traces"]
        {
            let faults = endpoint(url).unwrap_err();
            assert!(faults.starts_with("--set: traces.otlp_endpoint must be a URL such as"), "{faults}");
        }
    }

    #[test]
    fn a_sample_ratio_is_a_share() {
        assert!(load_sets(&["traces.sample_ratio=0"]).is_ok());
        assert!(load_sets(&["traces.sample_ratio=1.5"]).is_err());
    }
}
