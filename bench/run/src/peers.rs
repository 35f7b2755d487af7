//! The same work in Go and in Python: built where their toolchain is, left out with a line where not.

use crate::arm::Peer;
use crate::options::Arm;
use crate::usage::quiet;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// Builds the peers of `arms` into `out`, and removes the arms whose peer does not build.
pub async fn build(arms: &mut Vec<Arm>, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("could not create {}", out.display()))?;
    for peer in [Peer::Go, Peer::Python] {
        if !arms.iter().any(|arm| arm.peer() == Some(peer)) {
            continue;
        }
        let built = match peer {
            Peer::Go => go(out).await,
            Peer::Python => python(out).await,
        };
        if let Err(error) = built {
            eprintln!("left out: {peer:?} ({error:#})");
            arms.retain(|arm| arm.peer() != Some(peer));
        }
    }
    Ok(())
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

async fn done(command: &mut Command) -> Result<()> {
    let output = quiet(command).stderr(Stdio::piped()).spawn().context("could not start it")?;
    let output = output.wait_with_output().await?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{:?} failed: {}", command.as_std(), errors.trim().lines().last().unwrap_or_default());
    }
    Ok(())
}
