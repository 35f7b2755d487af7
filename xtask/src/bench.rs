//! `bench`: builds what is measured, starts services and runs `bench/run` on them.

use crate::guard::Guard;
use crate::{cargo, services};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[allow(dead_code, reason = "the program that is started reads the rest")]
#[path = "../../bench/run/src/options.rs"]
mod options;

pub use options::Options as Bench;

/// The binary that measures, and the one that has all programs, as in the image.
const BINARIES: &str = "-p ecom -p bench --bin bench --bin ecom";
/// The programs that are measured.
const PROGRAMS: [&str; 6] =
    ["order_consumer", "payment_consumer", "dlq_handler", "ecom_demo", "ecom_setup", "api_service"];

/// Runs the benchmark; returns 1 if an arm is void.
pub fn run(root: &Path, options: &Bench) -> Result<u8> {
    let out = std::path::absolute(options.out.clone().unwrap_or_else(|| root.join("target/bench")))?;
    // The guard removes its folder in the end; results, logs and peers stay.
    let dir = out.join("services");
    let mut guard = Guard::start(&dir)?;
    let profile = &options.profile;
    if !options.no_build {
        let mut build = cargo(root, &format!("build --profile {profile} {BINARIES}"), &[]);
        ensure!(guard.run(&mut build)?, "what is to be measured does not build");
    }
    let target = root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
    let folder = target.join(if profile == "dev" { "debug" } else { profile });
    let mut command = Command::new(linked(&folder, &out.join("bin"))?);
    command.arg("run").args(std::env::args_os().skip(2)).arg("--out").arg(out).current_dir(root);
    if options.three_nodes {
        let nodes = services::ring_for(&mut command, root, &dir, services::CommitlogSync::Periodic)?;
        command.env(services::Service::Cassandra.variable(), nodes);
    } else if let Some((_, error)) =
        services::up_for(&mut command, root, &dir, services::Logins::Unused)?.pop()
    {
        return Err(error);
    }
    Ok(u8::from(!guard.run(&mut command)?))
}

/// Puts the binaries of a target folder into `bin`, with a link for each program, and returns the one that measures: it
/// starts the programs beside it.
fn linked(folder: &Path, bin: &Path) -> Result<PathBuf> {
    let _ = fs::remove_dir_all(bin);
    fs::create_dir_all(bin).with_context(|| format!("could not create {}", bin.display()))?;
    for name in ["bench", "ecom"] {
        let from = folder.join(name);
        fs::copy(&from, bin.join(name)).with_context(|| format!("could not copy {}", from.display()))?;
    }
    for name in PROGRAMS {
        std::os::unix::fs::symlink("ecom", bin.join(name))?;
    }
    Ok(bin.join("bench"))
}
