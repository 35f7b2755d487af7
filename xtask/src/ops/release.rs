//! The release: its workflow, and the scripts that it runs.

use super::Place;
use super::tools::{passes, quietly};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::Command;

/// Checks the workflows: their syntax, expressions and shell lines, and their rights.
pub(super) fn workflows(place: &Place<'_>) -> Result<bool> {
    let actionlint = place.go("github.com/rhysd/actionlint/cmd/actionlint", "v1.7.12")?;
    let zizmor = place.python("zizmor", &["zizmor==1.32.0"])?.join("zizmor");
    let is_valid = passes(Command::new(actionlint).current_dir(place.root))?;
    let mut audit = Command::new(zizmor);
    audit.args(["--offline", "--no-progress", "--quiet", ".github/workflows"]).current_dir(place.root);
    Ok(passes(&mut audit)? & is_valid)
}

/// Packs the program of the tests as a release does, and prints the notes of this version.
pub(super) fn pack(place: &Place<'_>) -> Result<bool> {
    let folder = place.root.join("target/ops/release");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("could not create {}", folder.display()))?;
    let scripts = place.root.join("deploy/release");
    let mut pack = Command::new(scripts.join("pack.sh"));
    pack.arg(place.tested_programs()?.join("ecom")).arg("ecom-test").current_dir(&folder);
    quietly(&mut pack)?;
    quietly(Command::new("sha256sum").args(["--check", "ecom-test.tar.gz.sha256"]).current_dir(&folder))?;
    let notes = |version: &str| Command::new(scripts.join("notes.sh")).arg(version).output();
    let (own, none) = (notes("0.1.0")?, notes("0.0.0")?);
    ensure!(own.status.success(), "notes.sh: {}", String::from_utf8_lossy(&own.stderr));
    ensure!(!none.status.success(), "notes.sh has notes of a version that CHANGELOG.md does not have");
    fs::remove_file(folder.join("ecom-test.tar.gz"))?;
    Ok(true)
}

/// Lists the dependencies as a release does.
pub(super) fn sbom(place: &Place<'_>) -> Result<bool> {
    let hint = "cargo install --locked cargo-cyclonedx@0.5.9";
    place.program("cargo-cyclonedx", hint)?;
    let mut list = Command::new(place.root.join("deploy/release/sbom.sh"));
    passes(list.arg(place.root.join("target/ops/sbom.json")))
}
