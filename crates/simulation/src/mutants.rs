//! Proves that the simulation finds seeded bugs: each one runs in a process of its own, until a schedule
//! violates a rule.

use std::process::Command;
use std::time::Instant;

use ecom_domain::mutant::Mutant;

/// Seeded bugs of the adapters, which the simulation does not use. Their own tests find them.
const OF_ADAPTERS: [Mutant; 3] = [Mutant::StreamEndIsEnd, Mutant::FileNotChecked, Mutant::StderrPanics];

/// Runs each seeded bug; prints the schedules until it was found, and returns whether all were.
#[expect(clippy::disallowed_methods, reason = "the time that schedules take is real")]
pub(crate) fn run(schedules: u64) -> bool {
    println!("{:<28} {:>9}  found as", "mutant", "schedules");
    let mut all = true;
    for mutant in Mutant::ALL.iter().filter(|mutant| !OF_ADAPTERS.contains(mutant)) {
        let started = Instant::now();
        let program = std::env::current_exe().expect("a running program has a path");
        let count = schedules.to_string();
        let output = Command::new(program)
            .args(["run", "--most", "1", "--schedules", &count])
            .env("ECOM_MUTANT", mutant.as_str())
            .output()
            .expect("the program that runs can be started");
        let found = !output.status.success();
        let text = String::from_utf8_lossy(&output.stdout);
        let ran = text.lines().last().and_then(|line| line.split_once(' ')).map_or("", |(ran, _)| ran);
        let first = text.lines().map(str::trim).find(|line| line.len() > 1).unwrap_or_default();
        let result = if found { first.chars().take(100).collect() } else { "NOT FOUND".to_owned() };
        println!("{:<28} {ran:>9}  {result} ({:.1} s)", mutant.as_str(), started.elapsed().as_secs_f64());
        all &= found;
    }
    all
}
