//! Logging: lines on stderr, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::exit::Stop;
use crate::config::{Color, LogConfig, LogFormat};

/// Clients' own lines, unless asked for: they log per request.
const QUIET: &str = "scylla=warn,hyper=warn,tonic=warn,h2=warn,tower=warn,rustls=warn,google_cloud=warn";

/// Starts logging. `verbosity` shifts the level of our own lines: -2 = errors only, 1 = debug.
pub(crate) fn init(log: &LogConfig, verbosity: i8) -> Result<(), Stop> {
    let ours = match verbosity {
        i8::MIN..=-2 => "ecom=error",
        -1 => "ecom=warn",
        0 => "",
        1 => "ecom=debug",
        2.. => "ecom=trace",
    };
    let directives = [QUIET, log.filter.as_str(), ours];
    let directives: Vec<&str> = directives.into_iter().filter(|part| !part.is_empty()).collect();
    let filter = EnvFilter::try_new(directives.join(","))
        .map_err(|error| Stop::usage(format!("log.filter: {error}")))?;
    let color = match log.color {
        Color::Auto => std::io::stderr().is_terminal(),
        Color::Always => true,
        Color::Never => false,
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => lines.with_ansi(color).with_target(false).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
