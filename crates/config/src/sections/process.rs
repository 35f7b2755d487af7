//! `[connect]`, `[shutdown]`, `[admin]`, `[log]`: settings of every process.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::super::fields::{self, HOUR, MS, SECOND, duration, host_and_port_or_none};

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

fn filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    fields::checked(deserializer, |text| match text.trim() {
        "" => Err("must not be empty, use \"off\" for no lines".to_owned()),
        text => Ok(text.to_owned()),
    })
}
