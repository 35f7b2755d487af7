//! `ci`: every check of a change, with the time that each took; and `micro`.

use crate::test::{self, Scope};
use crate::workspace::{cargo, on_path};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::time::Instant;

const CLIPPY: &str = "clippy --locked --workspace --all-targets --all-features -- -D warnings";

/// Runs all steps, also after one has failed, and prints a table; returns 1 if any failed.
pub fn run(root: &Path) -> Result<u8> {
    let passes =
        |words: &str| Ok(cargo(root, words.split(' ')).env("RUSTDOCFLAGS", "-Dwarnings").status()?.success());
    let deny = || {
        let hint = "hint: .ci/run installs it; or cargo install --locked cargo-deny";
        on_path("cargo-deny").with_context(|| format!("found no cargo-deny on PATH\n{hint}"))?;
        passes("deny --locked --log-level error check bans licenses sources")
    };
    let steps: [(&str, &dyn Fn() -> Result<bool>); _] = [
        ("fmt", &|| passes("fmt --all --check")),
        ("clippy", &|| passes(CLIPPY)),
        ("doc", &|| passes("doc --locked --workspace --all-features --no-deps")),
        ("deny", &deny),
        ("micro", &|| Ok(micro(root, Scope::Required)? == 0)),
        ("test", &|| {
            test::tests(root, &["--workspace", "--exclude=micro"].map(str::to_owned), Scope::Required)
        }),
        ("features", &|| test::features(root)),
    ];
    let (mut table, mut failed) = (String::from("\n== result"), false);
    for (name, check) in steps {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let passed = check().unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            false
        });
        let result = if passed { "passed" } else { "FAILED" };
        table += &format!("\n{name:<10} {result} in {:.1} s", start.elapsed().as_secs_f64());
        failed |= !passed;
    }
    eprintln!("{table}");
    Ok(u8::from(failed))
}

/// Counts instructions and heap blocks per event with `bench/micro`, which fails above its limits.
pub fn micro(root: &Path, scope: Scope) -> Result<u8> {
    let missing = match on_path("valgrind") {
        _ if !cfg!(target_arch = "x86_64") => "the limits are of x86_64, not of this processor",
        None => "found no valgrind on PATH\nhint: install the package valgrind",
        // Cargo builds the harness's runner, too, and tells the benchmark where it is.
        Some(_) => {
            return Ok(u8::from(!cargo(root, ["bench", "--locked", "-p", "micro"]).status()?.success()));
        }
    };
    if scope == Scope::Required {
        bail!("{missing}");
    }
    eprintln!("not run: {missing}");
    Ok(0)
}
