//! Logging as the configuration says.

use std::io::IsTerminal;

use super::exit::CliError;
use ecom_config::{Color, LogConfig, LogFormat};
use ecom_telemetry::logs::{self, LineFormat};

/// Starts logging; `verbosity` comes from `-v` and `-q`.
pub(crate) fn init(log: &LogConfig, verbosity: i8) -> Result<(), CliError> {
    let color = match log.color {
        Color::Auto => std::io::stderr().is_terminal(),
        Color::Always => true,
        Color::Never => false,
    };
    let format = match log.format {
        LogFormat::Text => LineFormat::Text { color },
        LogFormat::Json => LineFormat::Json,
    };
    logs::init(&log.filter, verbosity, format)
        .map_err(|error| CliError::usage(format!("log.filter: {error}")))
}
