//! The same work in Go and in Python: built where their toolchain is, left out with a line where not.

use super::arm::{Arm, Peer};
use super::launch::{self, Place};
use super::options::Options;
use crate::failure::{Attempt, Failure, Outcome, say};
use crate::process;
use std::path::Path;
use std::process::{Command, Stdio};

/// The arms whose programs are there.
pub fn available(root: &Path, options: &Options, arms: Vec<Arm>) -> Vec<Arm> {
    let mut missing = Vec::new();
    for peer in [Peer::Go, Peer::Python] {
        if arms.iter().any(|arm| arm.peer() == Some(peer))
            && let Err(failure) = build(peer, root, &options.out.join("peers"))
        {
            say(&format!("left out: {} ({})", Place::peer_name(peer), failure.what()));
            missing.push(peer);
        }
    }
    arms.into_iter().filter(|arm| arm.peer().is_none_or(|peer| !missing.contains(&peer))).collect()
}

fn build(peer: Peer, root: &Path, out: &Path) -> Outcome<()> {
    std::fs::create_dir_all(out).attempt(format_args!("create {}", out.display()))?;
    match peer {
        Peer::Go => {
            let go = process::on_path("go").ok_or_else(|| Failure::new("found no go on PATH"))?;
            let binary = out.join("go-peer");
            let mut command = Command::new(go);
            command.args(["build", "-o"]).arg(binary).arg(".").current_dir(root.join("benches/peers/go"));
            done(&mut command, "go build")
        }
        Peer::Python => {
            let python =
                process::on_path("python3").ok_or_else(|| Failure::new("found no python3 on PATH"))?;
            let own = out.join("python");
            let source = root.join("benches/peers/python");
            launch::copy(&source.join("peer.py"), &out.join("peer.py"))?;
            if !own.join("bin/python").is_file() {
                done(Command::new(python).args(["-m", "venv"]).arg(&own), "python3 -m venv")?;
            }
            let mut pip = Command::new(own.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet", "-r"]).arg(source.join("requirements.txt"));
            done(&mut pip, "pip install")
        }
    }
}

fn done(command: &mut Command, name: &str) -> Outcome<()> {
    let output = command.stdin(Stdio::null()).output().attempt(format_args!("run {name}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{name} failed: {}", said.trim().lines().last().unwrap_or_default())))
}
