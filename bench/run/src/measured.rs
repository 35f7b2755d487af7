//! One measurement.

use crate::options::Arm;
use std::fmt;

/// The result of one arm in one round.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The arm.
    pub arm: Arm,
    /// The round, from 0.
    pub round: u32,
    /// Events done.
    pub events: u64,
    /// Seconds from the first permitted event to the last one done.
    pub seconds: f64,
    /// The process's own processor time in that span, in seconds.
    pub cpu_seconds: f64,
    /// The most memory that the process ever had resident, in bytes.
    pub peak_rss: u64,
    /// Instructions in user mode, where they could be counted.
    pub instructions: Option<u64>,
    /// Time from publishing to the visible row at half of this arm's rate.
    pub latency: Option<Latency>,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
}

impl Measured {
    /// Returns events per second.
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    /// Returns processor seconds per million events.
    pub fn cpu_per_million(&self) -> f64 {
        self.cpu_seconds / self.events as f64 * 1e6
    }

    /// Returns instructions per event.
    pub fn instructions_per_event(&self) -> Option<f64> {
        self.instructions.map(|all| all as f64 / self.events as f64)
    }

    /// Returns the peak of memory in MB.
    pub fn megabytes(&self) -> f64 {
        self.peak_rss as f64 / 1e6
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, cpu, memory) = (self.rate(), self.cpu_per_million(), self.megabytes());
        write!(f, "{:17} {rate:>8.0}/s {cpu:>7.2} CPU-s/M {memory:>6.1} MB", self.arm.name())?;
        if let Some(each) = self.instructions_per_event() {
            write!(f, ", {each:.0} instructions/event")?;
        }
        match self.latency {
            Some(Latency { p50, p99 }) => write!(f, ", p50 {p50:.1} ms, p99 {p99:.1} ms"),
            None => Ok(()),
        }
    }
}
