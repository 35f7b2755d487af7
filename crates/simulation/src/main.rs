//! Runs simulated schedules of the pipeline.
#![allow(clippy::print_stdout, reason = "the report is the output")]

#[cfg(feature = "mutants")]
mod mutants;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ecom_simulation::crash_points::{self, RoleReport};
use ecom_simulation::runner;
use ecom_simulation::schedules;

/// Simulated schedules of the pipeline
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the schedules of many seeds
    Run {
        /// Number of seeds
        #[arg(long, default_value_t = 1_000)]
        schedules: u64,
        /// First seed
        #[arg(long, default_value_t = 1)]
        first: u64,
        /// Stop after this many violations
        #[arg(long, default_value_t = 5)]
        most: usize,
    },
    /// Run schedules with each seeded bug until one violates a rule (needs the feature `mutants`)
    #[cfg(feature = "mutants")]
    Mutants {
        /// Schedules to run at most with each
        #[arg(long, default_value_t = 20_000)]
        schedules: u64,
    },
    /// Run every fault at every operation of each role
    CrashPoints {
        /// Run every two faults, too
        #[arg(long)]
        pairs: bool,
    },
    /// Run the schedule of one seed
    Replay {
        /// The seed
        seed: u64,
    },
}

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let passed = match Cli::parse().command {
        Command::Run { schedules, first, most } => run(schedules, first, most),
        #[cfg(feature = "mutants")]
        Command::Mutants { schedules } => mutants::run(schedules),
        Command::CrashPoints { pairs } => crash_points(pairs),
        Command::Replay { seed } => replay(seed),
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn crash_points(pairs: bool) -> bool {
    let mut passed = true;
    for report in crash_points::run(pairs) {
        let RoleReport { role, operations, cases: [singles, doubles], violations, elapsed } = report;
        println!(
            "{:<9} {operations:>3} operations, {singles:>5} cases of one fault, {doubles:>7} of two, {} violations, {:.1} s",
            format!("{role:?}"),
            violations.len(),
            elapsed.as_secs_f64()
        );
        for (case, message) in violations.iter().take(5) {
            println!("  {:?}: {message}", case.faults);
        }
        passed &= violations.is_empty();
    }
    passed
}

fn replay(seed: u64) -> bool {
    println!("{:#?}", ecom_simulation::conditions::Conditions::of(seed));
    match runner::checked(schedules::run(seed, Some(Box::new(|line| println!("{line}"))))) {
        Ok(counts) => {
            println!("seed {seed}: {counts:?}");
            true
        }
        Err(message) => {
            println!("{message}");
            false
        }
    }
}

fn run(schedules: u64, first: u64, most: usize) -> bool {
    let report = runner::run(first, schedules, most);
    for violation in &report.violations {
        println!(
            "{}\nreplay: cargo run --release -p ecom-simulation -- replay {}",
            violation.message, violation.seed
        );
    }
    println!(
        "{} schedules in {:.1} s: {} violations; {:?}",
        report.schedules,
        report.elapsed.as_secs_f64(),
        report.violations.len(),
        report.events
    );
    report.violations.is_empty()
}
