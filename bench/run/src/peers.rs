//! The same work in Go and in Python: built where their toolchain is, left out with a line where not.

use crate::arm::Program;
use crate::options::Arm;
use anyhow::{Context, Result, ensure};
use std::{path::Path, process::Stdio};
use tokio::process::Command;

/// Builds the peers of `arms` into `out`, and removes the arms whose peer does not build.
pub async fn build(arms: &mut Vec<Arm>, out: &Path) {
    for peer in [Program::Go, Program::Python] {
        if !arms.iter().any(|arm| arm.program() == peer) {
            continue;
        }
        if let Err(error) = if peer == Program::Go { go(out).await } else { python(out).await } {
            eprintln!("left out: {peer:?} ({error:#})");
            arms.retain(|arm| arm.program() != peer);
        }
    }
}

async fn go(out: &Path) -> Result<()> {
    let mut command = Command::new("go");
    done(command.args(["build", "-o"]).arg(out.join("go-peer")).arg(".").current_dir("bench/peers/go")).await
}

async fn python(out: &Path) -> Result<()> {
    let python = out.join("python/bin/python");
    if !python.is_file() {
        done(Command::new("python3").args(["-m", "venv"]).arg(out.join("python"))).await?;
    }
    std::fs::copy("bench/peers/python/peer.py", out.join("peer.py")).context("could not copy peer.py")?;
    let requirements = "bench/peers/python/requirements.txt";
    done(Command::new(python).args(["-m", "pip", "install", "--quiet", "-r", requirements])).await
}

/// Runs a command that has to succeed.
pub async fn done(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().await.context("could not start it")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.trim().lines().last().unwrap_or_default();
    ensure!(output.status.success(), "{:?} failed: {last}", command.as_std());
    Ok(())
}
