//! Exit codes and the errors behind them.

use std::process::ExitCode;

use ecom_bus::BusError;
use ecom_pipeline::durable::RoleError;
use ecom_store::StoreError;
use ecom_telemetry::stderr;

/// The end of a process without an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Done, or drained.
    Done,
    /// Finished with a negative result: exit 3.
    NegativeResult,
}

/// An error that ends the process.
#[derive(Debug)]
pub(crate) struct CliError {
    code: u8,
    message: String,
    hint: Option<String>,
    closed_pipe: bool,
}

impl CliError {
    /// An error of usage or configuration: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into(), hint: None, closed_pipe: false }
    }

    /// A failure while running: exit code 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), hint: None, closed_pipe: false }
    }

    /// A dead letter that does not exist: exit code 3.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { code: 3, message: message.into(), hint: None, closed_pipe: false }
    }

    /// Returns true when the reader of stdout has closed it, which is not a failure.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        self.closed_pipe
    }

    /// Adds a hint: what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<RoleError> for CliError {
    fn from(error: RoleError) -> Self {
        Self::failed(error.to_string()).hint("run with --check to see what is missing and how to create it")
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<BusError> for CliError {
    fn from(error: BusError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<serde_json::Error> for CliError {
    fn from(error: serde_json::Error) -> Self {
        Self::failed(format!("could not write JSON: {error}"))
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        let closed_pipe = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self { closed_pipe, ..Self::failed(error.to_string()) }
    }
}

/// Prints the error and its hints on stderr, and returns the exit code.
pub(crate) fn code(outcome: Result<Exit, CliError>) -> ExitCode {
    match outcome {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::NegativeResult) => ExitCode::from(3),
        Err(stop) => {
            stderr::error(stop.message, stop.hint.as_deref());
            ExitCode::from(stop.code)
        }
    }
}
