//! `[connect]`, `[shutdown]`, `[admin]`, `[log]`: what every process does, whatever its role.

use std::time::Duration;

use super::super::hosts;
use super::super::reader::Reader;

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_hours(1);

/// How a start waits for the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectConfig {
    /// How long the bus and the store may take to answer.
    pub timeout: Duration,
}

/// How a process stops.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShutdownConfig {
    /// How long what is in flight may take to be settled; not zero.
    pub grace_period: Duration,
}

/// The port for probes and metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdminConfig {
    /// Where to listen, `host:port`; `None` = nowhere.
    pub listen: Option<String>,
}

/// What is said on stderr.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// Which lines are written, as `RUST_LOG` says it; not empty.
    pub filter: String,
    /// Whether lines are coloured.
    pub color: Color,
}

/// How a log line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// Whether output on stderr is coloured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Color {
    /// Where stderr is a terminal.
    Auto,
    /// Always.
    Always,
    /// Never; `NO_COLOR` says so.
    Never,
}

impl ConnectConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self { timeout: reader.duration("connect.timeout", MS..=HOUR)? })
    }
}

impl ShutdownConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self { grace_period: reader.duration("shutdown.grace_period", MS..=HOUR)? })
    }
}

impl AdminConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let listen = reader.parsed("admin.listen", |text| match text {
            "" => Ok(None),
            text => hosts::host_and_port(text).map(Some),
        });
        Some(Self { listen: listen? })
    }
}

impl LogConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let format = reader.choice("log.format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
        let filter = reader.parsed("log.filter", |text| match text.trim() {
            "" => Err("must not be empty, \"off\" is silence".to_owned()),
            text => Ok(text.to_owned()),
        });
        let color = reader.choice(
            "log.color",
            &[("auto", Color::Auto), ("always", Color::Always), ("never", Color::Never)],
        );
        Some(Self { format: format?, filter: filter?, color: color? })
    }
}
