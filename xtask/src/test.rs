//! `test`: private services, every test, each feature alone, and an account of what was left out.

use crate::guard::Guard;
use crate::services::{self, Options};
use crate::workspace::cargo;
use anyhow::{Result, bail};
use std::path::Path;

/// The package of the binaries.
const PACKAGE: &str = "ecom";
/// Features that must each build without the others.
const FEATURES: [&str; 3] = ["pubsub", "cassandra", "embedded"];

/// The extent of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything that this host can run; the rest is listed at the end.
    Available,
    /// Everything: what is missing is a failure.
    Required,
    /// Everything, and the benchmark's own tests.
    Ci,
}

impl Scope {
    /// Reads `REQUIRE_SERVICES`; empty and `0` mean no.
    pub fn from_environment() -> Self {
        match std::env::var("REQUIRE_SERVICES") {
            Ok(value) if !value.is_empty() && value != "0" => Self::Required,
            _ => Self::Available,
        }
    }
}

/// Runs the tests and, without `arguments`, the feature checks; returns the exit code.
pub fn run(root: &Path, arguments: &[String], scope: Scope) -> Result<u8> {
    let tests = tests(root, arguments, scope)?;
    if !arguments.is_empty() {
        eprintln!("not run: each feature alone (arguments narrow this run)");
    }
    let passed = tests & (!arguments.is_empty() || features(root)?);
    eprintln!("\n{}", if passed { "everything that ran passed" } else { "failed" });
    Ok(u8::from(!passed))
}

/// Runs `cargo test` with services of its own; returns whether all passed.
pub fn tests(root: &Path, arguments: &[String], scope: Scope) -> Result<bool> {
    let dir = root.join("target/services-test").join(std::process::id().to_string());
    let mut guard = Guard::start(&dir)?;
    let result = with_services(root, &dir, arguments, scope, &mut guard);
    if !matches!(result, Ok(true)) {
        guard.keep_logs();
    }
    result
}

fn with_services(
    root: &Path,
    dir: &Path,
    arguments: &[String],
    scope: Scope,
    guard: &mut Guard,
) -> Result<bool> {
    let mut command = cargo(root, words(arguments, scope));
    let mut missing = Vec::new();
    for result in services::up(root, &Options::private(dir))? {
        match result {
            Ok(endpoint) => drop(command.env(endpoint.service.variable(), endpoint.address)),
            Err((service, error)) => {
                command.env_remove(service.variable());
                let error = format!("{error:#}").replace('\n', "\n    ");
                missing.push(format!("  tests that need {}: {error}", service.name()));
            }
        }
    }
    if scope == Scope::Available {
        command.env_remove("REQUIRE_SERVICES");
    } else if missing.is_empty() {
        command.env("REQUIRE_SERVICES", "1");
    } else {
        bail!("REQUIRE_SERVICES=1, but something is missing:\n{}", missing.join("\n"));
    }
    let passed = guard.run(&mut command)?;
    if !missing.is_empty() {
        eprintln!("\nnot run:\n{}", missing.join("\n"));
    }
    Ok(passed)
}

/// Returns the words of `cargo test`: the whole workspace unless the arguments choose packages.
fn words(arguments: &[String], scope: Scope) -> Vec<String> {
    let mut words = vec!["test".to_owned(), "--all-features".to_owned()];
    let chooses = |word: &String| word == "-p" || word.starts_with("--package");
    if !arguments.iter().take_while(|word| *word != "--").any(chooses) {
        words.extend(["--workspace".to_owned(), "--exclude=micro".to_owned()]);
        words.extend((scope != Scope::Ci).then(|| "--exclude=bench".to_owned()));
    }
    words.extend_from_slice(arguments);
    words
}

/// Checks each feature alone; returns whether all build.
pub fn features(root: &Path) -> Result<bool> {
    let mut passed = true;
    for feature in FEATURES {
        let words =
            ["check", "-p", PACKAGE, "--lib", "--bins", "--no-default-features", "--features", feature];
        passed &= cargo(root, words).status()?.success();
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_follow_the_whole_workspace_or_the_package_they_choose() {
        let words = |line: &str, scope| {
            words(&line.split(' ').map(str::to_owned).collect::<Vec<_>>(), scope).join(" ")
        };
        let all = "test --all-features --workspace --exclude=micro --exclude=bench";
        assert_eq!(words("late", Scope::Available), format!("{all} late"));
        assert_eq!(words("-- -p", Scope::Required), format!("{all} -- -p"));
        assert_eq!(words("late", Scope::Ci), "test --all-features --workspace --exclude=micro late");
        assert_eq!(words("-p xtask", Scope::Ci), "test --all-features -p xtask");
    }
}
