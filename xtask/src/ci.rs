//! `ci`: every check of a change, with the time that each took; and `micro`.

use crate::cargo;
use crate::ops;
use crate::reliability;
use crate::steps::{self, Step};
use crate::test::{self, Scope};
use anyhow::{Result, ensure};
use std::path::Path;

/// Runs all steps, also after one has failed, and prints a table; returns 1 if any failed.
pub fn run(root: &Path) -> Result<u8> {
    let passes = |words| Ok(cargo(root, words, &[]).env("RUSTDOCFLAGS", "-Dwarnings").status()?.success());
    let deny = || {
        let hint = "hint: .ci/run installs it; or cargo install --locked cargo-deny";
        ensure!(which::which("cargo-deny").is_ok(), "found no cargo-deny on PATH\n{hint}");
        passes("deny --locked --log-level error check bans licenses sources")
    };
    let packages = ["--workspace", "--exclude=micro"].map(str::to_owned);
    let steps: [Step<'_>; _] = [
        ("fmt", &|| passes("fmt --all --check")),
        ("clippy", &|| passes("clippy --locked --workspace --all-targets --all-features -- -D warnings")),
        ("doc", &|| passes("doc --locked --workspace --all-features --no-deps")),
        ("deny", &deny),
        ("micro", &|| micro(root, Scope::Required)),
        ("simulation", &|| reliability::simulate(root, reliability::SCHEDULES, 1)),
        ("test", &|| test::tests(root, &packages, Scope::Required)),
        ("features", &|| test::features(root)),
        ("ops", &|| Ok(ops::run(root, &ops::Options::default(), Scope::Required)? == 0)),
    ];
    Ok(steps::run(&steps))
}

/// Counts instructions and heap blocks per event with `bench/micro`; returns false above its limits.
pub fn micro(root: &Path, scope: Scope) -> Result<bool> {
    let missing = match which::which("valgrind") {
        _ if !cfg!(target_arch = "x86_64") => "the limits are of x86_64, not of this processor",
        Err(_) => "found no valgrind on PATH\nhint: install the package valgrind",
        // Cargo builds the harness's runner, too, and tells the benchmark where it is.
        Ok(_) => return Ok(cargo(root, "bench --locked -p micro", &[]).status()?.success()),
    };
    ensure!(scope == Scope::Available, "{missing}");
    eprintln!("not run: {missing}");
    Ok(true)
}
