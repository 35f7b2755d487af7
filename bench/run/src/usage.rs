//! The resources that a process used, as the system counts them: processor time, memory, instructions.

use rustix::process::{Pid, Signal, kill_process};
use std::process::Stdio;
use tokio::process::{Child, Command};

/// Returns nanoseconds on a processor, over all threads that live.
pub fn cpu_ns(pid: u32) -> u64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// Returns nanoseconds on a processor of a process and all its descendants, over all threads that ever ran; in steps of
/// 10 ms.
pub fn tree_cpu_ns(root: u32) -> u64 {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        all.extend(parse_stat(&stat));
    }
    let mut tree = vec![root];
    let mut at = 0;
    while let Some(parent) = tree.get(at).copied() {
        tree.extend(all.iter().filter(|(_, of, _)| *of == parent).map(|(pid, ..)| *pid));
        at += 1;
    }
    all.iter().filter(|(pid, ..)| tree.contains(pid)).map(|(_, _, ticks)| ticks * 10_000_000).sum()
}

/// Returns process id, that of the parent, and ticks on a processor.
fn parse_stat(stat: &str) -> Option<(u32, u32, u64)> {
    let (pid, rest) = stat.split_once(" (")?;
    // The name may contain anything.
    let fields: Vec<&str> = rest.rsplit_once(") ")?.1.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let parent = u32::try_from(number(1)?).ok()?;
    Some((pid.parse().ok()?, parent, number(11)? + number(12)?))
}

/// Returns the most memory that the process ever had resident, in bytes.
pub fn peak_rss(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Sends a signal to a process.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// A `perf` that counts a process's instructions in user mode, where it is allowed to.
pub struct Counter(Option<Child>);

impl Counter {
    /// Starts counting where there is a `perf`.
    pub fn start(pid: u32) -> Self {
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x", ",", "-e", "instructions:u", "-p", &pid.to_string()]).kill_on_drop(true);
        Self(perf.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().ok())
    }

    /// Ends counting and returns the number, if there is one.
    pub async fn stop(self) -> Option<u64> {
        let perf = self.0?;
        signal(perf.id()?, Signal::INT);
        instructions(&String::from_utf8_lossy(&perf.wait_with_output().await.ok()?.stderr))
    }
}

fn instructions(csv: &str) -> Option<u64> {
    csv.lines().find(|line| line.contains("instructions"))?.split(',').next()?.parse().ok()
}

/// Describes the machine in one line.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim()));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {}, Linux {}", model.unwrap_or("unknown processor"), kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_has_run() {
        let me = std::process::id();
        assert!(peak_rss(me) > 1 << 16 && cpu_ns(me) > 0);
        assert_eq!((peak_rss(u32::MAX), cpu_ns(u32::MAX)), (0, 0));
    }

    #[test]
    fn the_descendants_of_a_process_are_counted() {
        let stat = "7 (a) b) S 3 7 7 0 -1 4194560 1 0 0 0 20 22 0 0 20 0";
        assert_eq!(parse_stat(stat), Some((7, 3, 42)));
        let burn = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; sleep 5";
        let mut shell =
            std::process::Command::new("sh").args(["-c", &format!("({burn}) & wait")]).spawn().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while tree_cpu_ns(shell.id()) < 50_000_000 && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let counted = tree_cpu_ns(shell.id());
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert!(counted >= 50_000_000, "{counted}");
    }

    #[test]
    fn instructions_are_read_from_perfs_csv() {
        let csv = "# started\n\n123456789,,instructions:u,1000,100.00,,\n";
        assert_eq!(instructions(csv), Some(123_456_789));
        assert_eq!(instructions("<not supported>,,instructions:u,,,,\n"), None);
    }
}
