//! Ends what a test run started, however the run ends: done, failed, Ctrl-C, killed.
//!
//! No handler of ours can run when this process is killed, so another process waits for its end:
//! `xtask guard DIR`, in a process group of its own, reads the pipe on its stdin. The end of the
//! pipe is the end of the run, whatever its cause; it then ends the commands still running and the
//! services of DIR. A normal end takes the same path.

use crate::failure::{Attempt, Failure, Outcome, say};
use crate::process::{self, Signal};
use crate::{services, workspace};
use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// The run's side: dropping it ends everything and waits until that is done.
#[derive(Debug)]
pub struct Guard {
    watcher: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Starts the watcher over the services of `dir`, which will be removed at the end.
    pub fn start(dir: &Path) -> Outcome<Self> {
        let program = std::env::current_exe().attempt("find this program's own file")?;
        let mut command = Command::new(program);
        command.arg("guard").arg(dir).stdin(Stdio::piped()).stdout(Stdio::null());
        process::own_group(&mut command);
        let mut watcher = command.spawn().attempt("start the guard of this run")?;
        let pipe = watcher.stdin.take();
        Ok(Self { watcher, pipe })
    }

    /// Runs a command in a process group of its own, which ends with the run at the latest.
    /// Says whether it succeeded.
    pub fn run(&mut self, command: &mut Command) -> Outcome<bool> {
        process::own_group(command);
        let name = command.get_program().display().to_string();
        let mut child = command.spawn().attempt(format_args!("start {name}"))?;
        self.tell(&format!("group {}", child.id()));
        let status = child.wait().attempt(format_args!("wait for {name}"))?;
        self.tell(&format!("ended {}", child.id()));
        Ok(status.success())
    }

    /// Keeps the services' logs when everything else is removed.
    pub fn keep_logs(&mut self) {
        self.tell("keep");
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

/// What the run has told the watcher.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    groups: BTreeSet<u32>,
    keep_logs: bool,
}

impl Told {
    fn hear(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("group", pid)) => self.groups.extend(pid.parse::<u32>()),
            Some(("ended", pid)) => {
                if let Ok(pid) = pid.parse::<u32>() {
                    self.groups.remove(&pid);
                }
            }
            _ => self.keep_logs |= line == "keep",
        }
    }
}

/// The watcher's side: `xtask guard DIR`.
pub fn watch(dir: &Path) -> Outcome<u8> {
    let mut told = Told::default();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        told.hear(&line);
    }
    for group in &told.groups {
        end_group(*group);
    }
    if dir.exists() {
        services::down(&workspace::root()?, dir, true)?;
        clear(dir, told.keep_logs)?;
    }
    Ok(0)
}

fn end_group(leader: u32) {
    let group = -i64::from(leader);
    if process::signal(group, Signal::Term)
        && !process::wait_until(Duration::from_secs(5), || !process::signal(group, Signal::Probe))
    {
        process::signal(group, Signal::Kill);
    }
}

fn clear(dir: &Path, keep_logs: bool) -> Outcome<()> {
    if !keep_logs {
        return std::fs::remove_dir_all(dir).attempt(format_args!("remove {}", dir.display()));
    }
    let files: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(|error| Failure::new(format!("could not read {} ({error})", dir.display())))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    for file in files.iter().filter(|file| file.is_file() && file.extension().is_none_or(|end| end != "log"))
    {
        let _ = std::fs::remove_file(file);
    }
    say(&format!("the services' logs are in {}", dir.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_that_still_run_are_ended() {
        let mut told = Told::default();
        for line in ["group 10", "ended 10", "group 11", "keep", "group x", "nonsense"] {
            told.hear(line);
        }
        assert_eq!(told, Told { groups: BTreeSet::from([11]), keep_logs: true });
    }

    #[test]
    fn a_failed_run_leaves_nothing_but_logs() {
        let folder = services::testing::Folder::new("guard");
        for name in ["emulator.log", "emulator.state", "lock"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        clear(folder.path(), true).unwrap();
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["emulator.log"]);
        clear(folder.path(), false).unwrap();
        assert!(!folder.path().exists());
    }
}
