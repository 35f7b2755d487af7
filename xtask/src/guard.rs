//! Ends what a run started, however the run ends: done, failed, Ctrl-C, killed.
//!
//! A killed process cannot clean up, so another one does: `xtask guard DIR` reads a pipe from the
//! run. When the pipe closes it ends the process groups that still run and the services of DIR. A
//! normal end takes the same path. (`PR_SET_PDEATHSIG` would reach direct children only: not the
//! test binaries under cargo, nor what those start.)

use crate::{process, services};
use anyhow::{Context, Result};
use rustix::process::{Signal, kill_process_group, test_kill_process_group};
use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// The run's end of the pipe. Dropping it ends everything and waits until that is done.
#[derive(Debug)]
pub struct Guard {
    watcher: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Starts the watcher over the services of `dir`, which it removes in the end.
    pub fn start(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("could not create {}", dir.display()))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("guard").arg(dir).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let mut watcher = command.spawn().context("could not start the guard of this run")?;
        let pipe = watcher.stdin.take();
        Ok(Self { watcher, pipe })
    }

    /// Runs a command in a process group of its own; returns whether it succeeded.
    pub fn run(&mut self, command: &mut Command) -> Result<bool> {
        let name = command.get_program().display().to_string();
        let mut child =
            command.process_group(0).spawn().with_context(|| format!("could not start {name}"))?;
        self.tell(&format!("started {}", child.id()));
        let status = child.wait().with_context(|| format!("could not wait for {name}"))?;
        self.tell(&format!("ended {}", child.id()));
        Ok(status.success())
    }

    /// Keeps the services' logs when everything else is removed.
    pub fn keep_logs(&mut self) {
        self.tell("keep-logs");
    }

    fn tell(&mut self, line: &str) {
        if let Some(pipe) = &mut self.pipe {
            let _ = writeln!(pipe, "{line}");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pipe = None;
        let _ = self.watcher.wait();
    }
}

/// Reads the run's lines until the pipe closes, then cleans up.
pub fn watch(root: &Path, dir: &Path) -> Result<u8> {
    let (mut groups, mut keep_logs) = (BTreeSet::new(), false);
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("started", group)) => groups.extend(group.parse::<u32>()),
            Some(("ended", group)) => groups.retain(|running| running.to_string() != group),
            _ => keep_logs |= line == "keep-logs",
        }
    }
    for group in groups.into_iter().filter_map(process::pid) {
        let ended = || test_kill_process_group(group).is_err();
        let _ = kill_process_group(group, Signal::TERM);
        if !process::wait_until(Duration::from_secs(5), ended) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    services::down(root, dir, services::Data::Wiped)?;
    remove(dir, keep_logs)?;
    Ok(0)
}

fn remove(dir: &Path, keep_logs: bool) -> Result<()> {
    if !keep_logs {
        return std::fs::remove_dir_all(dir).with_context(|| format!("could not remove {}", dir.display()));
    }
    for file in std::fs::read_dir(dir)?.flatten().map(|entry| entry.path()) {
        if file.is_file() && file.extension().is_none_or(|extension| extension != "log") {
            let _ = std::fs::remove_file(file);
        }
    }
    eprintln!("the services' logs are in {}", dir.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_run_leaves_nothing_but_logs() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["emulator.log", "emulator.json", "lock"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        remove(folder.path(), true).unwrap();
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["emulator.log"]);
        remove(folder.path(), false).unwrap();
        assert!(!folder.path().exists());
    }
}
