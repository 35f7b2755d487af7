//! What the system says about a process: processor time, memory, instructions.

use crate::process;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Nanoseconds on a processor, over all threads that live.
pub fn cpu_ns(pid: u32) -> u64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// The most memory it ever had resident, in bytes.
pub fn peak_rss(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Counts a process's instructions in user mode, where `perf` may.
pub struct Counter {
    perf: Child,
    file: std::path::PathBuf,
}

impl Counter {
    /// Starts counting; `None` where there is no `perf`.
    pub fn start(pid: u32, folder: &Path) -> Option<Self> {
        let perf = process::on_path("perf")?;
        let file = folder.join(format!("perf-{pid}.csv"));
        let perf = Command::new(perf)
            .args(["stat", "-x", ",", "-e", "instructions:u", "-p", &pid.to_string(), "-o"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self { perf, file })
    }

    /// Ends counting and reads the number.
    pub fn stop(mut self) -> Option<u64> {
        let pid = self.perf.id().to_string();
        Command::new("sh").args(["-c", "kill -s INT \"$1\"", "sh", &pid]).status().ok()?;
        self.perf.wait().ok()?;
        let text = std::fs::read_to_string(&self.file).ok()?;
        instructions(&text)
    }
}

fn instructions(csv: &str) -> Option<u64> {
    csv.lines().find(|line| line.contains("instructions"))?.split(',').next()?.parse().ok()
}

/// The machine in one line.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned())
        })
        .unwrap_or_else(|| "unknown processor".to_owned());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {model}, Linux {}", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_has_run() {
        let me = std::process::id();
        assert!(peak_rss(me) > 1 << 16);
        assert!(cpu_ns(me) > 0);
        assert_eq!((peak_rss(u32::MAX), cpu_ns(u32::MAX)), (0, 0));
    }

    #[test]
    fn instructions_are_read_from_perfs_csv() {
        let csv = "# started\n\n123456789,,instructions:u,1000,100.00,,\n";
        assert_eq!(instructions(csv), Some(123_456_789));
        assert_eq!(instructions("<not supported>,,instructions:u,,,,\n"), None);
    }
}
