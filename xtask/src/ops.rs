//! `ops`: checks what is under `deploy/` with the tools that it is for.
//!
//! Each check is a file beside this one. Python packages are installed into environments under `target/`; programs of Debian's
//! packages are unpacked, and those of Go modules built, once per user into the folder of [`crate::cache`].

mod compose;
mod dashboard;
mod image;
mod kubernetes;
mod namespaces;
mod prometheus;
mod release;
mod restore;
mod systemd;
mod terraform;
mod tools;
mod traces;

use crate::steps::{self, Step};
use crate::test::Scope;
use anyhow::{Result, ensure};
use clap::Args;
use std::path::Path;

/// Options of `ops`.
#[derive(Debug, Default, Args)]
pub struct Options {
    /// Run the checks that take minutes, too: they build programs of Go modules and the binaries for images
    #[arg(long)]
    full: bool,
    /// Run the rest of a check that has started this process in namespaces; prints no table
    #[arg(long, hide = true)]
    in_namespaces: bool,
    /// Run only these checks, whatever their length (default: all)
    checks: Vec<String>,
}

/// A check of files under `deploy/`.
struct Check {
    name: &'static str,
    /// True if it takes minutes, so that it runs with `--full` alone.
    is_long: bool,
    /// Returns whether it passed. The error [`steps::NotRun`] says what this host lacks for it.
    run: fn(&Place) -> Result<bool>,
}

/// All checks, in the order in which they run.
const CHECKS: &[Check] = &[
    Check { name: "dockerfile", is_long: false, run: image::lint },
    Check { name: "image", is_long: false, run: image::build_and_run },
    Check { name: "image-size", is_long: true, run: image::of_release },
    Check { name: "compose", is_long: false, run: compose::files },
    Check { name: "compose-up", is_long: true, run: compose::runs },
    Check { name: "workflows", is_long: false, run: release::workflows },
    Check { name: "pack", is_long: false, run: release::pack },
    Check { name: "sbom", is_long: true, run: release::sbom },
    Check { name: "manifests", is_long: false, run: kubernetes::manifests },
    Check { name: "api-server", is_long: true, run: kubernetes::accepts },
    Check { name: "node", is_long: true, run: kubernetes::runs },
    Check { name: "systemd", is_long: false, run: systemd::units },
    Check { name: "systemd-boot", is_long: true, run: systemd::boot },
    Check { name: "terraform", is_long: false, run: terraform::plan },
    Check { name: "terraform-schema", is_long: false, run: terraform::schema },
    Check { name: "prometheus", is_long: false, run: prometheus::check },
    Check { name: "dashboard", is_long: false, run: dashboard::check },
    Check { name: "restore", is_long: true, run: restore::from_backup },
    Check { name: "traces", is_long: true, run: traces::received },
];

/// The workspace and the extent of a run, for every check.
struct Place<'a> {
    /// The root of the workspace.
    root: &'a Path,
    scope: Scope,
    is_in_namespaces: bool,
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
    let place = Place { root, scope, is_in_namespaces: options.in_namespaces };
    let chosen: Vec<&Check> = CHECKS.iter().filter(|check| is_chosen(check)).collect();
    if let [check] = chosen[..]
        && options.in_namespaces
    {
        return Ok(u8::from(!(check.run)(&place)?));
    }
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
