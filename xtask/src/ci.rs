//! `ci`: every check a change must pass, with the time each took.

use crate::failure::{Outcome, say};
use crate::instructions;
use crate::test::{self, Services};
use crate::workspace::{self, cargo};
use std::path::Path;
use std::time::{Duration, Instant};

/// A check that is one cargo command.
struct Check {
    name: &'static str,
    words: &'static [&'static str],
    variable: Option<(&'static str, &'static str)>,
}

/// The checks before the tests.
const CHECKS: [Check; 4] = [
    Check { name: "fmt", words: &["fmt", "--all", "--check"], variable: None },
    Check {
        name: "clippy",
        words: &[
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ],
        variable: None,
    },
    Check {
        name: "doc",
        words: &["doc", "--locked", "--workspace", "--all-features", "--no-deps"],
        variable: Some(("RUSTDOCFLAGS", "-Dwarnings")),
    },
    Check {
        name: "blocks",
        words: &["run", "--locked", "--release", "-p", "micro", "--bin", "micro-blocks"],
        variable: None,
    },
];

/// Runs all of them, a failed one too does not spare the rest, and fails if one did.
pub fn run() -> Outcome<u8> {
    let root = workspace::root()?;
    let mut results = Vec::new();
    for check in CHECKS {
        say(&format!("\n== {}: cargo {}", check.name, check.words.join(" ")));
        results.push(timed(check.name, || passes(&root, &check)));
    }
    say("\n== instructions an event");
    results.push(timed("instructions", || succeeds(instructions::check())));
    say("\n== test, with every service required");
    results.push(timed("test", || succeeds(test::run(&[], Services::Required))));
    say(&table(&results));
    Ok(u8::from(results.iter().any(|step| !step.passed)))
}

fn passes(root: &Path, check: &Check) -> bool {
    match cargo(root, check.words).envs(check.variable).status() {
        Ok(status) => status.success(),
        Err(error) => {
            say(&format!("error: could not start cargo ({error})"));
            false
        }
    }
}

fn succeeds(result: Outcome<u8>) -> bool {
    match result {
        Ok(code) => code == 0,
        Err(failure) => {
            say(&failure.to_string());
            false
        }
    }
}

#[derive(Debug)]
struct Step {
    name: &'static str,
    passed: bool,
    took: Duration,
}

fn timed(name: &'static str, step: impl FnOnce() -> bool) -> Step {
    let start = Instant::now();
    let passed = step();
    let step = Step { name, passed, took: start.elapsed() };
    say(&line(&step));
    step
}

fn line(step: &Step) -> String {
    let result = if step.passed { "passed" } else { "FAILED" };
    format!("{:<12} {result} in {:.1} s", step.name, step.took.as_secs_f64())
}

fn table(steps: &[Step]) -> String {
    steps.iter().map(line).fold(String::from("\n== result"), |text, line| format!("{text}\n{line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_has_a_line_with_the_time_of_each_step() {
        let step = |name, passed, millis| Step { name, passed, took: Duration::from_millis(millis) };
        assert_eq!(
            table(&[step("fmt", true, 1_240), step("clippy", false, 61_000)]),
            "\n== result\nfmt          passed in 1.2 s\nclippy       FAILED in 61.0 s"
        );
    }
}
