//! Named steps, each run also after another one has failed.

use anyhow::Result;
use std::fmt;
use std::time::Instant;

/// The error of a step that could not run because this host lacks something; it does not fail the run.
#[derive(Debug)]
pub struct NotRun(pub String);

impl fmt::Display for NotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotRun {}

/// A name, and what it runs: it returns whether it passed.
pub type Step<'s> = (&'s str, &'s dyn Fn() -> Result<bool>);

/// Runs the steps and prints a table of their times; returns 1 if any failed.
pub fn run(steps: &[Step<'_>]) -> u8 {
    let (mut table, mut failed) = (String::from("\n== result"), false);
    for (name, check) in steps {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let result = match check() {
            Ok(true) => "passed",
            Ok(false) => "FAILED",
            Err(error) if error.is::<NotRun>() => {
                eprintln!("not run: {error:#}");
                "not run"
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                "FAILED"
            }
        };
        table += &format!("\n{name:<12} {result} in {:.1} s", start.elapsed().as_secs_f64());
        failed |= result == "FAILED";
    }
    eprintln!("{table}");
    u8::from(failed)
}
