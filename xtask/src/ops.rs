//! `ops`: checks what is under `deploy/` with the tools that it is for.
//!
//! Each check is a file beside this one. Python packages are installed into environments under `target/`; programs of Debian's
//! packages are unpacked, and those of Go modules built, once per user into the folder of [`crate::cache`].

mod image;
mod tools;

use crate::steps::{self, Step};
use crate::test::Scope;
use anyhow::{Result, ensure};
use clap::Args;
use std::path::Path;

/// Options of `ops`.
#[derive(Debug, Args)]
pub struct Options {
    /// Run the checks that take minutes, too: they build programs of Go modules and the binaries for images
    #[arg(long)]
    full: bool,
    /// Run only these checks, whatever their length (default: all)
    checks: Vec<String>,
}

/// A check of files under `deploy/`.
struct Check {
    name: &'static str,
    /// Whether it takes minutes, so that it runs with `--full` alone.
    is_long: bool,
    /// Returns whether it passed. The error [`steps::NotRun`] says what this host lacks for it.
    run: fn(&Place) -> Result<bool>,
}

/// All checks, in the order in which they run.
const CHECKS: &[Check] = &[Check { name: "dockerfile", is_long: false, run: image::lint }];

/// What every check gets.
struct Place<'a> {
    /// The root of the workspace.
    root: &'a Path,
    scope: Scope,
}

/// Runs the chosen checks and prints a table of their times; returns 1 if any failed.
pub fn run(root: &Path, options: &Options, scope: Scope) -> Result<u8> {
    let names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
    let known = |name: &String| names.contains(&name.as_str());
    if let Some(unknown) = options.checks.iter().find(|name| !known(name)) {
        ensure!(false, "there is no check {unknown}\nhint: there are {}", names.join(", "));
    }
    let is_chosen = |check: &Check| {
        let is_named = options.checks.iter().any(|name| name == check.name);
        is_named || (options.checks.is_empty() && (options.full || !check.is_long))
    };
    let place = Place { root, scope };
    let chosen: Vec<&Check> = CHECKS.iter().filter(|check| is_chosen(check)).collect();
    let runs: Vec<Box<dyn Fn() -> Result<bool> + '_>> =
        chosen.iter().map(|check| Box::new(|| (check.run)(&place)) as Box<_>).collect();
    let steps: Vec<Step<'_>> = chosen.iter().zip(&runs).map(|(check, run)| (check.name, &**run)).collect();
    let code = steps::run(&steps);
    if options.checks.is_empty() && !options.full {
        let left: Vec<&str> = CHECKS.iter().filter(|check| check.is_long).map(|check| check.name).collect();
        eprintln!("left out without --full: {}", left.join(", "));
    }
    Ok(code)
}
