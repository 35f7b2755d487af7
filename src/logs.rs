//! Logging as the configuration says.

use std::ffi::OsString;
use std::io::IsTerminal;

use super::config::{Config, Loaded};
use super::exit::CliError;
use ecom_config::{Color, LogFormat};
use ecom_telemetry::logs::{self, LineFormat};
use ecom_telemetry::stderr::StderrFormat;

/// Returns the format that these arguments ask for, or else the environment: that of errors which come before the
/// configuration is known.
pub(crate) fn format_of(arguments: &[OsString]) -> StderrFormat {
    let mut rest = arguments.iter().filter_map(|argument| argument.to_str());
    let mut given = None;
    while let Some(argument) = rest.next() {
        match argument.strip_prefix("--log-format") {
            Some("") => given = rest.next().map(str::to_owned),
            Some(value) => given = value.strip_prefix('=').map(str::to_owned).or(given),
            None => {}
        }
    }
    match given.or_else(|| std::env::var("ECOM__LOG__FORMAT").ok()).as_deref() {
        Some("json") => StderrFormat::Json,
        Some("gcp") => StderrFormat::Gcp,
        _ => StderrFormat::Text,
    }
}

/// Starts logging; `verbosity` comes from `-v` and `-q`.
pub(crate) fn init(loaded: &Loaded, verbosity: i8) -> Result<(), CliError> {
    let log = &loaded.config.log;
    let color = match log.color {
        Color::Auto => std::io::stderr().is_terminal(),
        Color::Always => true,
        Color::Never => false,
    };
    let format = match log.format {
        LogFormat::Text => LineFormat::Text { color },
        LogFormat::Json => LineFormat::Json,
        LogFormat::Gcp => LineFormat::Gcp { project: project(&loaded.config) },
    };
    logs::init(&log.filter, verbosity, format)
        .map_err(|error| loaded.fault("log.filter", &format!("is not a filter: {error}")))
        .map_err(|fault| CliError::usage(fault.to_string()))
}

/// Returns the Google Cloud project that the traces are in.
#[cfg(feature = "pubsub")]
fn project(config: &Config) -> Option<String> {
    Some(config.bus.pubsub.project.clone()).filter(|project| !project.is_empty())
}

/// Returns the Google Cloud project that the traces are in.
#[cfg(not(feature = "pubsub"))]
fn project(_: &Config) -> Option<String> {
    std::env::var("GOOGLE_CLOUD_PROJECT").ok().filter(|project| !project.is_empty())
}
