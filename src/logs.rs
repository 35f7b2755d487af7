//! Logging as the configuration says.

use std::io::IsTerminal;

use super::config::Loaded;
use super::exit::CliError;
use ecom_config::{Color, LogFormat};
use ecom_telemetry::logs::{self, LineFormat};

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
    };
    logs::init(&log.filter, verbosity, format)
        .map_err(|error| loaded.fault("log.filter", &format!("is not a filter: {error}")))
        .map_err(|fault| CliError::usage(fault.to_string()))
}
