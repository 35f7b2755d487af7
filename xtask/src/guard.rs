//! Ends what a run started, however the run ends: done, failed, Ctrl-C, killed.
//!
//! A killed process cannot clean up, so another one does: `xtask guard DIR` reads a pipe from the run.
//! When the pipe closes it ends the process group that still runs and the services of DIR.
//! (`PR_SET_PDEATHSIG` would reach direct children only: not the test binaries under cargo.)

use crate::services;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The watcher, with the pipe to it. Dropping it closes the pipe and waits until all has ended.
#[derive(Debug)]
pub struct Guard(Child);

impl Guard {
    /// Starts the watcher over the services of `dir`, which it removes in the end.
    pub fn start(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("could not create {}", dir.display()))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("guard").arg(dir).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        command.spawn().map(Self).context("could not start the guard of this run")
    }

    /// Runs something on the services of `dir`, whose logs stay unless it passes.
    pub fn over(dir: &Path, run: impl FnOnce(&mut Self) -> Result<bool>) -> Result<bool> {
        let mut guard = Self::start(dir)?;
        let result = run(&mut guard);
        if !matches!(result, Ok(true)) {
            guard.send("keep-logs");
        }
        result
    }

    /// Runs a command in a process group of its own; returns whether it succeeded.
    pub fn run(&mut self, command: &mut Command) -> Result<bool> {
        let name = command.get_program().display().to_string();
        let child = command.process_group(0).spawn();
        let mut child = child.with_context(|| format!("could not start {name}"))?;
        self.send(&child.id().to_string());
        let status = child.wait().with_context(|| format!("could not wait for {name}"))?;
        self.send("0");
        Ok(status.success())
    }

    /// Ends this process group, too, unless another command runs.
    pub fn watch_group(&mut self, id: u32) {
        self.send(&id.to_string());
    }

    fn send(&mut self, line: &str) {
        let _ = self.0.stdin.as_mut().map(|pipe| writeln!(pipe, "{line}"));
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.wait();
    }
}

/// Reads the run's lines until the pipe closes, then cleans up. A line is the process group that runs
/// now, 0 for none, or `keep-logs`.
pub fn watch(root: &Path, dir: &Path) -> Result<u8> {
    let (mut group, mut keep_logs) = (None, false);
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.parse() {
            Ok(id) => group = Pid::from_raw(id),
            Err(_) => keep_logs = true,
        }
    }
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    clean_up(root, dir, keep_logs)?;
    Ok(0)
}

fn clean_up(root: &Path, dir: &Path, keep_logs: bool) -> Result<()> {
    services::down(root, dir, services::Data::Wiped)?;
    if keep_logs {
        eprintln!("the services' logs are in {}", dir.display());
        return fs::remove_file(dir.join("lock")).context("could not remove the lock of the services");
    }
    fs::remove_dir_all(dir).with_context(|| format!("could not remove {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_run_leaves_nothing_but_logs() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let state = r#"{"address":"127.0.0.1:1","runner":{"native":{"pid":4294967295}}}"#;
        for (name, text) in [("emulator.log", ""), ("emulator.json", state), ("lock", "")] {
            fs::write(dir.join(name), text).unwrap();
        }
        clean_up(dir, dir, true).unwrap();
        let left: Vec<_> = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["emulator.log"]);
        clean_up(dir, dir, false).unwrap();
        assert!(!dir.exists());
    }
}
