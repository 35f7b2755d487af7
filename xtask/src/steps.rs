//! Named steps, each run also after another one has failed.

use anyhow::Result;
use std::time::Instant;

/// A name, and what it runs: it returns whether it passed.
pub type Step<'s> = (&'s str, &'s dyn Fn() -> Result<bool>);

/// Runs the steps and prints a table of their times; returns 1 if any failed.
pub fn run(steps: &[Step<'_>]) -> u8 {
    let (mut table, mut failed) = (String::from("\n== result"), false);
    for (name, check) in steps {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let passed = check().unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            false
        });
        let result = if passed { "passed" } else { "FAILED" };
        table += &format!("\n{name:<12} {result} in {:.1} s", start.elapsed().as_secs_f64());
        failed |= !passed;
    }
    eprintln!("{table}");
    u8::from(failed)
}
