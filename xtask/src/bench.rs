//! `bench`: builds what is measured, starts services and runs `bench/run` on them.

use crate::guard::Guard;
use crate::{cargo, services};
use anyhow::{Result, ensure};
use std::path::Path;
use std::process::Command;

#[allow(dead_code, reason = "the program that is started reads the rest")]
#[path = "../../bench/run/src/options.rs"]
mod options;

pub use options::Options as Bench;

/// The binaries that are measured, and the one that measures.
const BINARIES: &str = "-p ecom -p bench --bin bench --bin order_consumer --bin payment_consumer \
    --bin dlq_handler --bin ecom_demo --bin ecom_setup --bin api_service";

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
    let mut command = Command::new(folder.join("bench"));
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
