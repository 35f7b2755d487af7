//! Processes that outlive the command that started them: start, recognise, signal.

use crate::failure::{Attempt, Outcome};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often a wait looks again.
pub const GLANCE: Duration = Duration::from_millis(100);

/// Starts `command` in a process group of its own, in `folder`, with its output in `log`, so that
/// it survives this process and Ctrl-C, and holds none of its streams. Returns the pid.
///
/// It runs through `sh` to be given enough file handles; `sh` replaces itself, the pid stays.
/// The last run's log is kept beside it as `*.previous.log`.
pub fn start_detached(command: &[String], folder: &Path, log: &Path) -> Outcome<u32> {
    if log.exists() {
        let _ = std::fs::rename(log, log.with_extension("previous.log"));
    }
    let output = File::create(log).attempt(format_args!("create {}", log.display()))?;
    let errors = output.try_clone().attempt(format_args!("open {}", log.display()))?;
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -n 65536 2>/dev/null; exec \"$@\"", "sh"])
        .args(command)
        .current_dir(folder)
        .env("MALLOC_ARENA_MAX", "4")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    own_group(&mut shell);
    let child =
        shell.spawn().attempt(format_args!("start {}", command.first().map_or("", String::as_str)))?;
    Ok(child.id())
}

/// Puts the child in a process group of its own: signals for ours, such as Ctrl-C, pass it by.
pub fn own_group(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(not(unix))]
    let _ = command;
}

/// Whether `pid` is alive and still the process we started: its command line names `marker`.
/// A zombie has no command line, and a pid used again has another one.
pub fn is_ours(pid: u32, marker: &str) -> bool {
    command_line(pid).is_some_and(|line| line.contains(marker))
}

fn command_line(pid: u32) -> Option<String> {
    if !Path::new("/proc/self/cmdline").exists() {
        let pid = pid.to_string();
        let ps = Command::new("ps").args(["-ww", "-o", "args=", "-p", &pid]).output().ok()?;
        return Some(String::from_utf8_lossy(&ps.stdout).into_owned());
    }
    // While a process replaces its program, its command line reads as empty: look again.
    for _ in 0..100 {
        let raw = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        if !raw.is_empty() {
            return Some(String::from_utf8_lossy(&raw).replace('\0', " "));
        }
        if is_zombie(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?) {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// Reads the state in `/proc/PID/stat`: it follows the program's name, which ends at the last `)`.
fn is_zombie(stat: &str) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// A signal this tool sends.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    /// Please end.
    Term,
    /// End.
    Kill,
    /// Are you there? Delivers nothing.
    Probe,
}

/// Sends a signal to a pid, or to a process group when `target` is negative. Says whether anyone
/// was there to get it. By the shell's built-in `kill`, which every system has.
pub fn signal(target: i64, signal: Signal) -> bool {
    let name = match signal {
        Signal::Term => "TERM",
        Signal::Kill => "KILL",
        Signal::Probe => "0",
    };
    Command::new("sh")
        .args(["-c", "kill -s \"$1\" -- \"$2\"", "sh", name, &target.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// How a process came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was not running, or no longer ours.
    AlreadyGone,
    /// It ended when asked.
    Asked,
    /// It did not end when asked, and was killed.
    Killed,
}

/// Ends our process: asks, waits for `grace`, kills. Touches nothing that is not ours.
pub fn stop(pid: u32, marker: &str, grace: Duration) -> End {
    if !is_ours(pid, marker) {
        return End::AlreadyGone;
    }
    signal(i64::from(pid), Signal::Term);
    if wait_until(grace, || !is_ours(pid, marker)) {
        return End::Asked;
    }
    signal(i64::from(pid), Signal::Kill);
    wait_until(Duration::from_secs(10), || !is_ours(pid, marker));
    End::Killed
}

/// Looks every [`GLANCE`] until `done` says so or `limit` has passed; says whether it was done.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(GLANCE);
    }
    true
}

/// The last `count` lines of a log, or a note that there is none.
pub fn tail(log: &Path, count: usize) -> String {
    let Ok(raw) = std::fs::read(log) else {
        return format!("(no log at {})", log.display());
    };
    let text = String::from_utf8_lossy(&raw);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The first executable file called `name` on PATH.
pub fn on_path(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ours_only_while_its_command_line_names_the_marker() {
        let me = std::process::id();
        assert!(is_ours(me, "xtask"));
        assert!(!is_ours(me, "a marker nobody has in a command line"));
        assert!(!is_ours(u32::MAX, "xtask"));
    }

    #[test]
    fn a_zombie_is_told_from_a_process_between_two_programs() {
        assert!(is_zombie("12 (a) b) Z 1 12"));
        assert!(!is_zombie("12 (Z) S 1 12"));
        assert!(!is_zombie(""));
    }

    #[test]
    fn what_is_not_ours_is_never_signalled() {
        assert_eq!(stop(std::process::id(), "another marker", Duration::ZERO), End::AlreadyGone);
    }

    #[test]
    fn a_process_that_ignores_the_request_is_killed() {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo ready; while :; do read line || :; done", "stubborn-marker"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut lines, &mut ready).unwrap();
        assert_eq!(stop(child.id(), "stubborn-marker", Duration::ZERO), End::Killed);
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn the_tail_of_a_log_is_its_last_lines() {
        let folder = crate::services::testing::Folder::new("tail");
        let log = folder.path().join("a.log");
        std::fs::write(&log, "1\n2\n3\n").unwrap();
        assert_eq!(tail(&log, 2), "2\n3");
        assert_eq!(tail(&log, 9), "1\n2\n3");
        assert!(tail(&folder.path().join("none.log"), 2).starts_with("(no log"));
    }
}
