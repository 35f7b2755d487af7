//! `ci`: every check of a change, with the time that each took; and `micro`.

use crate::process::on_path;
use crate::test::{self, Scope};
use crate::workspace::cargo;
use anyhow::{Result, bail};
use std::path::Path;
use std::time::{Duration, Instant};

/// A step's name, its result, and how long it took.
type Step = (&'static str, bool, Duration);

const CLIPPY: &str = "clippy --locked --workspace --all-targets --all-features -- -D warnings";

/// Runs all steps, also after one has failed, and prints a table; returns 1 if any failed.
pub fn run(root: &Path) -> Result<u8> {
    let passes =
        |words: &str| Ok(cargo(root, words.split(' ')).env("RUSTDOCFLAGS", "-Dwarnings").status()?.success());
    let mut steps: Vec<Step> = Vec::new();
    let mut step = |name: &'static str, check: &dyn Fn() -> Result<bool>| {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let passed = check().unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            false
        });
        steps.push((name, passed, start.elapsed()));
    };
    step("fmt", &|| passes("fmt --all --check"));
    step("clippy", &|| passes(CLIPPY));
    step("doc", &|| passes("doc --locked --workspace --all-features --no-deps"));
    step("deny", &|| match on_path("cargo-deny") {
        Some(_) => passes("deny --locked --log-level error check bans licenses sources"),
        None => bail!(
            "found no cargo-deny on PATH\nhint: .ci/run installs it; or cargo install --locked cargo-deny"
        ),
    });
    step("micro", &|| Ok(micro(root, Scope::Ci)? == 0));
    step("test", &|| test::tests(root, &[], Scope::Ci));
    step("features", &|| test::features(root));
    eprintln!("{}", table(&steps));
    Ok(u8::from(steps.iter().any(|(_, passed, _)| !passed)))
}

fn table(steps: &[Step]) -> String {
    steps.iter().fold("\n== result".to_owned(), |text, (name, passed, took)| {
        let result = if *passed { "passed" } else { "FAILED" };
        format!("{text}\n{name:<10} {result} in {:.1} s", took.as_secs_f64())
    })
}

/// Counts instructions and heap blocks per event with `bench/micro`, which fails above its limits.
pub fn micro(root: &Path, scope: Scope) -> Result<u8> {
    // The limits are of this instruction set.
    let missing = match (std::env::consts::ARCH, on_path("valgrind")) {
        ("x86_64", Some(_)) => None,
        ("x86_64", None) => Some("found no valgrind on PATH\nhint: install the package valgrind"),
        _ => Some("the limits are of x86_64, not of this processor"),
    };
    match missing {
        Some(missing) if scope == Scope::Available => eprintln!("not run: {missing}"),
        Some(missing) => bail!("{missing}"),
        // Cargo builds the harness's runner, too, and tells the benchmark where it is.
        None => return Ok(u8::from(!cargo(root, ["bench", "--locked", "-p", "micro"]).status()?.success())),
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_with_the_time_of_each_step() {
        let steps = [("fmt", true, Duration::from_millis(1_240)), ("clippy", false, Duration::from_secs(61))];
        assert_eq!(table(&steps), "\n== result\nfmt        passed in 1.2 s\nclippy     FAILED in 61.0 s");
    }
}
