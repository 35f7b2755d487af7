//! `soak`: a steady mixed load without faults, and the memory, file handles and threads of each process.

use crate::parts::{Parts, Process, Purpose, ROLES, fresh_folder};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// The interval of the samples.
const INTERVAL: Duration = Duration::from_secs(5);
/// The limit of growth after the warm-up, in KiB per 10 minutes.
const SLOPE_LIMIT: f64 = 1024.0;
/// File handles and threads may differ by this much between the thirds of a run: a connection more or less.
const FLAT: f64 = 2.0;

/// Options of a run.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Minutes of load
    #[arg(long, default_value_t = 15)]
    pub minutes: u64,
    /// Minutes at the beginning that are not judged
    #[arg(long, default_value_t = 5)]
    pub warm_up: u64,
    /// Events a second of both producers together
    #[arg(long, default_value_t = 1_000)]
    pub rate: u64,
    /// Keep logs, manifests and the verification in DIR (default: target/soak)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// A load that stays as it is: both streams have as many events an order, so that neither runs ahead of the other.
/// Late orders make dead letters that recover, and no order is missing: the dead letters of those would wait, and be
/// remembered, for days.
const SETTINGS: &str = "\
[producer]
late_orders = 0.05
late_by = 5000
missing_orders = 0.0
order_updates = 0.05
second_payments = 0.05
";

/// A sample: memory of its own in KiB, file handles, threads.
type Sample = [f64; 3];

/// Runs the soak; returns whether every process stays within its limits and the stores are as published.
pub fn run(root: &Path, options: &Options) -> Result<bool> {
    let out = fresh_folder(root, options.out.as_deref(), "soak")?;
    let (mut parts, _node) = Parts::start(root, &out, Purpose::Load, SETTINGS)?;
    let mut processes = Vec::new();
    for name in ROLES {
        processes.push(parts.role(name, None)?);
    }
    // More than the run publishes: the producers are stopped.
    let orders = options.rate * (options.minutes + 1) * 60;
    processes.extend(parts.producers(orders, options.rate / 2, None)?);
    let (started, minute) = (Instant::now(), Duration::from_secs(60));
    let (length, warm_up) =
        (minute * u32::try_from(options.minutes)?, minute * u32::try_from(options.warm_up)?);
    let mut samples: Vec<Vec<(f64, Sample)>> = vec![Vec::new(); processes.len()];
    while started.elapsed() < length {
        thread::sleep(INTERVAL);
        for (process, samples) in processes.iter_mut().zip(&mut samples) {
            if let Some(status) = process.ended()? {
                bail!("{} ended with {status}, see its log in {}", process.name, out.display());
            }
            if started.elapsed() >= warm_up {
                samples.push((started.elapsed().as_secs_f64() / 600.0, sample(process)?));
            }
        }
    }
    let producers = processes.split_off(ROLES.len());
    for producer in &producers {
        producer.signal(rustix::process::Signal::TERM);
    }
    let mut are_within = true;
    for (process, samples) in processes.iter().chain(&producers).zip(&samples) {
        are_within &= judge(process.name, samples);
    }
    for mut producer in producers {
        producer.wait(Duration::from_secs(60))?;
    }
    let outcome = parts.finish(processes, Duration::from_secs(120))?;
    println!(
        "soak: {} minutes, {} events, {} redeliveries, {outcome}",
        options.minutes,
        outcome.count("published")? + outcome.count("duplicates")?,
        outcome.redeliveries
    );
    Ok(are_within && outcome.is_exact())
}

/// Prints the line of a process; returns whether it stays within the limits.
fn judge(name: &str, samples: &[(f64, Sample)]) -> bool {
    let column =
        |index: usize| samples.iter().map(|(time, sample)| (*time, sample[index])).collect::<Vec<_>>();
    let slope = slope(&column(0));
    let [memory, handles, threads] = [0, 1, 2].map(|index| ends(&column(index)));
    let is_flat = |(first, last): (f64, f64)| last - first <= FLAT;
    let is_within = slope < SLOPE_LIMIT && is_flat(handles) && is_flat(threads);
    println!(
        "{name}: memory {:.1} to {:.1} MiB, slope {:+.2} MiB per 10 min; file handles {:.0} to {:.0}; \
         threads {:.0} to {:.0}; {} samples: {}",
        memory.0 / 1024.0,
        memory.1 / 1024.0,
        slope / 1024.0,
        handles.0,
        handles.1,
        threads.0,
        threads.1,
        samples.len(),
        if is_within { "flat" } else { "GROWS" }
    );
    is_within
}

/// Returns the slope of the line through these points that is nearest to them by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread = points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>();
    points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread
}

/// Returns the means of the first and the last third.
fn ends(points: &[(f64, f64)]) -> (f64, f64) {
    let third = (points.len() / 3).max(1);
    let mean = |points: &[(f64, f64)]| points.iter().map(|point| point.1).sum::<f64>() / points.len() as f64;
    (mean(&points[..third]), mean(&points[points.len() - third..]))
}

/// Reads memory, without that of its files, file handles and threads of a process.
fn sample(process: &Process) -> Result<Sample> {
    let folder = PathBuf::from(format!("/proc/{}", process.id()));
    let status = fs::read_to_string(folder.join("status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        value.with_context(|| format!("found no {name} of {}", process.name))
    };
    let handles = fs::read_dir(folder.join("fd"))?.count() as f64;
    Ok([field("RssAnon:")?, handles, field("Threads:")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_found_and_noise_is_not_growth() {
        let samples = |of: fn(f64) -> Sample| {
            (0..96).map(|it| (f64::from(it) / 120.0, of(f64::from(it)))).collect::<Vec<_>>()
        };
        assert!(judge("flat", &samples(|it| [20_000.0 + 300.0 * (it % 7.0), 30.0 + it % 2.0, 5.0])));
        assert!(!judge("memory", &samples(|it| [20_000.0 + 10.0 * it, 30.0, 5.0])));
        assert!(!judge("handles", &samples(|it| [20_000.0, 30.0 + it / 10.0, 5.0])));
        assert!(!judge("threads", &samples(|it| [20_000.0, 30.0, 5.0 + it / 10.0])));
    }
}
