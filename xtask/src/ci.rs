//! `ci`: every check a change must pass, with the time each took.

use crate::failure::{Outcome, say};
use crate::test::{self, Services};
use crate::workspace::{self, cargo};
use std::path::Path;
use std::time::{Duration, Instant};

/// The checks before the tests: a name, cargo's words, and a variable to set.
const CHECKS: [(&str, &[&str], Option<(&str, &str)>); 3] = [
    ("fmt", &["fmt", "--all", "--check"], None),
    (
        "clippy",
        &[
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ],
        None,
    ),
    (
        "doc",
        &["doc", "--locked", "--workspace", "--all-features", "--no-deps"],
        Some(("RUSTDOCFLAGS", "-Dwarnings")),
    ),
];

/// Runs all of them, a failed one too does not spare the rest, and fails if one did.
pub fn run() -> Outcome<u8> {
    let root = workspace::root()?;
    let mut results = Vec::new();
    for (name, words, variable) in CHECKS {
        say(&format!("\n== {name}: cargo {}", words.join(" ")));
        results.push(timed(name, || check(&root, words, variable)));
    }
    say("\n== test, with every service required");
    results.push(timed("test", || match test::run(&[], Services::Required) {
        Ok(code) => code == 0,
        Err(failure) => {
            say(&failure.to_string());
            false
        }
    }));
    say(&table(&results));
    Ok(u8::from(results.iter().any(|step| !step.passed)))
}

fn check(root: &Path, words: &[&str], variable: Option<(&str, &str)>) -> bool {
    match cargo(root, words).envs(variable).status() {
        Ok(status) => status.success(),
        Err(error) => {
            say(&format!("error: could not start cargo ({error})"));
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
    format!("{:<8} {result} in {:.1} s", step.name, step.took.as_secs_f64())
}

fn table(steps: &[Step]) -> String {
    steps.iter().map(line).fold(String::from("\n== result"), |text, line| format!("{text}\n{line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_has_a_line_with_the_time_of_each_step() {
        let step =
            |name, passed, millis| Step { name, passed, took: Duration::from_millis(millis) };
        assert_eq!(
            table(&[step("fmt", true, 1_240), step("clippy", false, 61_000)]),
            "\n== result\nfmt      passed in 1.2 s\nclippy   FAILED in 61.0 s"
        );
    }
}
