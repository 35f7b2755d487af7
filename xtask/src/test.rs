//! `test`: private services, every test, each feature alone, and an account of what was left out.

use crate::guard::Guard;
use crate::{cargo, services};
use anyhow::{Result, ensure};
use std::path::Path;

/// Features that must each build without the others.
const FEATURES: [&str; 5] = ["pubsub", "cassandra", "embedded", "shop-cassandra", "shop-embedded"];

/// The extent of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// What this host can run; the rest is listed at the end.
    Available,
    /// Everything: what is missing is a failure.
    Required,
}

impl Scope {
    /// Reads `REQUIRE_SERVICES`; empty and `0` mean no.
    pub fn from_environment() -> Self {
        let value = std::env::var("REQUIRE_SERVICES").unwrap_or_default();
        if ["", "0"].contains(&value.as_str()) { Self::Available } else { Self::Required }
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
    Guard::over(&dir, |guard| with_services(root, &dir, arguments, scope, guard))
}

fn with_services(root: &Path, dir: &Path, words: &[String], scope: Scope, guard: &mut Guard) -> Result<bool> {
    let mut command = cargo(root, cargo_test(words), words);
    let missing = services::up_for(&mut command, root, dir, services::Logins::Tested)?.into_iter().map(
        |(service, error)| {
            format!(
                "\n  tests that need {}: {}",
                service.name(),
                format!("{error:#}").replace('\n', "\n    ")
            )
        },
    );
    let missing: String = missing.collect();
    let required = scope == Scope::Required;
    ensure!(!required || missing.is_empty(), "REQUIRE_SERVICES=1, but something is missing:{missing}");
    let passed = guard.run(command.env("REQUIRE_SERVICES", if required { "1" } else { "0" }))?;
    if !missing.is_empty() {
        eprintln!("\nnot run:{missing}");
    }
    Ok(passed)
}

/// Returns the words before the arguments: the whole workspace, unless they choose packages.
pub fn cargo_test(arguments: &[String]) -> &'static str {
    let chooses = |word: &String| word == "-p" || word == "--workspace" || word.starts_with("--package");
    if arguments.iter().take_while(|word| *word != "--").any(chooses) {
        return "test --all-features";
    }
    "test --all-features --workspace --exclude=micro --exclude=bench"
}

/// Checks each feature alone; returns whether all build.
pub fn features(root: &Path) -> Result<bool> {
    let mut passed = true;
    for feature in FEATURES {
        let words = format!("check -p ecom --lib --bins --no-default-features --features {feature}");
        passed &= cargo(root, &words, &[]).status()?.success();
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_follow_the_whole_workspace_or_the_packages_they_choose() {
        let words = |line: &str| cargo_test(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let all = "test --all-features --workspace --exclude=micro --exclude=bench";
        assert_eq!(words("late"), all);
        assert_eq!(words("-- -p"), all);
        assert_eq!(words("--workspace --exclude=micro late"), "test --all-features");
        assert_eq!(words("-p xtask"), "test --all-features");
    }
}
