//! Processes that outlive the command that started them: recognized, ended, and their logs read.

use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Interval between two checks of a condition.
pub const INTERVAL: Duration = Duration::from_millis(100);

/// Returns true while `pid` runs and its command line contains `marker`: a process that got the pid
/// later has another one.
pub fn is_alive(pid: u32, marker: &str) -> bool {
    command_line(pid).is_some_and(|line| String::from_utf8_lossy(&line).contains(marker))
}

fn command_line(pid: u32) -> Option<Vec<u8>> {
    if !Path::new("/proc/self/cmdline").exists() {
        let ps = Command::new("ps").args(["-ww", "-o", "args=", "-p", &pid.to_string()]).output();
        return Some(ps.ok()?.stdout);
    }
    // It reads as empty of a zombie, and for a moment while a process replaces its program.
    for _ in 0..100 {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        if !line.is_empty() || status.contains("State:\tZ") || status.contains("State:\tX") {
            return Some(line);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// Ends a process if it is still the one that `marker` names: SIGTERM, then SIGKILL after `grace`.
/// Returns what happened, in words.
pub fn stop(pid: u32, marker: &str, grace: Duration) -> &'static str {
    if !is_alive(pid, marker) {
        return "was not running any more";
    }
    send(pid, Signal::TERM);
    if wait_until(grace, || !is_alive(pid, marker)) {
        return "stopped";
    }
    send(pid, Signal::KILL);
    wait_until(Duration::from_secs(10), || !is_alive(pid, marker));
    "did not end when asked, killed"
}

/// Converts a process id for signals.
pub fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

fn send(id: u32, signal: Signal) {
    if let Some(pid) = pid(id) {
        let _ = kill_process(pid, signal);
    }
}

/// Checks `done` until it holds or `limit` has passed; returns whether it holds.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(INTERVAL);
    }
    true
}

/// Returns the last `count` lines of a log, or a note that there is none.
pub fn tail(log: &Path, count: usize) -> String {
    let Ok(raw) = std::fs::read(log) else {
        return format!("(no log at {})", log.display());
    };
    let text = String::from_utf8_lossy(&raw);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Returns the first file called `name` on PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    #[test]
    fn a_process_without_the_marker_in_its_command_line_is_never_signalled() {
        let me = std::process::id();
        assert!(is_alive(me, "xtask"));
        assert_eq!(stop(me, "a marker that no command line has", Duration::ZERO), "was not running any more");
        assert!(!is_alive(u32::MAX, "xtask"));
    }

    #[test]
    fn a_process_that_ignores_sigterm_is_killed() {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo ready; while :; do read line || :; done", "stubborn-marker"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(stop(child.id(), "stubborn-marker", Duration::ZERO), "did not end when asked, killed");
        assert!(!child.wait().unwrap().success());
    }
}
