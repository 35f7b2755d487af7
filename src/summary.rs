//! The summary at the end of a run.

use super::context::Context;
use super::exit::CliError;
use super::output;
use super::role_handle::RoleHandle;
use ecom_pipeline::summary::Summary;
use ecom_telemetry::stderr;

/// Prints a role's summary as a line on stderr, and writes it as JSON where `--summary` asks for it.
pub(crate) fn summarise(context: &Context, handle: &RoleHandle) -> Result<(), CliError> {
    let summary = Summary::of(&handle.metrics, context.started.elapsed());
    stderr::say_with(&summary, "summary", serde_json::to_value(&summary)?);
    write_summary(context, &summary)
}

/// Writes a summary as JSON where `--summary` asks for it.
pub(crate) fn write_summary(context: &Context, summary: &impl serde::Serialize) -> Result<(), CliError> {
    let Some(path) = &context.common.summary else { return Ok(()) };
    let json = serde_json::to_string(summary)?;
    output::to(Some(path), &format!("{json}\n"))
}
