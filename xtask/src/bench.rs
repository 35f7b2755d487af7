//! `bench`: builds what is measured, starts services and runs `bench/run` on them.

use crate::guard::Guard;
use crate::services;
use crate::workspace::{cargo, target};
use anyhow::{Result, bail};
use std::path::Path;

#[allow(dead_code, reason = "the program that is started reads the rest")]
#[path = "../../bench/run/src/options.rs"]
mod options;

pub use options::Options as Bench;

/// The binaries that are measured, and the package they are of.
const PACKAGE: &str = "ecom";
const BINARIES: [&str; 4] = ["order_consumer", "payment_consumer", "dlq_handler", "ecom_setup"];

/// Runs the benchmark; returns 1 if an arm is void.
pub fn run(root: &Path, options: &Bench) -> Result<u8> {
    let out = std::path::absolute(options.out.clone().unwrap_or_else(|| root.join("target/bench")))?;
    // The guard removes its folder in the end; results, logs and peers stay.
    let dir = out.join("services");
    let mut guard = Guard::start(&dir)?;
    let profile = &options.profile;
    if !options.no_build {
        let mut words = vec!["build", "--profile", profile, "-p", PACKAGE, "-p", "bench", "--bin", "bench"];
        words.extend(BINARIES.iter().flat_map(|name| ["--bin", name]));
        if !guard.run(&mut cargo(root, words))? {
            bail!("what is to be measured does not build");
        }
    }
    let folder = target(root).join(if profile == "dev" { "debug" } else { profile });
    let mut command = std::process::Command::new(folder.join("bench"));
    command.arg("run").args(std::env::args_os().skip(2)).arg("--out").arg(out).current_dir(root);
    for result in services::up(root, &services::Options::private(&dir))? {
        match result {
            Ok(endpoint) => drop(command.env(endpoint.service.variable(), endpoint.address)),
            Err((_, error)) => return Err(error),
        }
    }
    Ok(u8::from(!guard.run(&mut command)?))
}
