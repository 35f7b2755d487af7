//! One measurement.

use super::arm::Arm;

/// What one arm did in one round.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Which arm.
    pub arm: Arm,
    /// Which round, from 0.
    pub round: u32,
    /// Events done.
    pub events: u64,
    /// From the first permitted event to the last one done.
    pub seconds: f64,
    /// The process's own processor time in that span.
    pub cpu_seconds: f64,
    /// The most memory the process ever had resident.
    pub peak_rss: u64,
    /// Instructions in user mode, where they could be counted.
    pub instructions: Option<u64>,
    /// From publishing to the visible row at half of this arm's rate, in milliseconds.
    pub latency: Option<Latency>,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    /// Half of the events were visible within it.
    pub p50: f64,
    /// 99 in 100 were.
    pub p99: f64,
}

impl Measured {
    /// Events per second.
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    /// Processor seconds per million events.
    pub fn cpu_per_million(&self) -> f64 {
        self.cpu_seconds / self.events as f64 * 1e6
    }

    /// Instructions per event.
    pub fn instructions_per_event(&self) -> Option<f64> {
        self.instructions.map(|all| all as f64 / self.events as f64)
    }

    /// Peak memory in MB.
    pub fn megabytes(&self) -> f64 {
        self.peak_rss as f64 / 1e6
    }

    /// For a person who waits.
    pub fn line(&self) -> String {
        let instructions = self
            .instructions_per_event()
            .map_or_else(String::new, |each| format!(", {each:.0} instructions/event"));
        let latency = self
            .latency
            .map_or_else(String::new, |Latency { p50, p99 }| format!(", p50 {p50:.1} ms, p99 {p99:.1} ms"));
        format!(
            "{:17} {:>8.0}/s {:>7.2} CPU-s/M {:>6.1} MB{instructions}{latency}",
            self.arm.name(),
            self.rate(),
            self.cpu_per_million(),
            self.megabytes()
        )
    }
}
