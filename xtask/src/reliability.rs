//! `reliability`: the figures of docs/reliability.md, from simulated schedules to fuzzing.

use crate::cargo;
use crate::steps::{self, Step};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};

/// Seeded bugs of adapters, each with the words of `cargo test` that must find it.
const OF_ADAPTERS: [(&str, &str); 3] = [
    ("stream-end-is-end", "--test wire -- no_fault_at_any_position_loses_a_message"),
    ("file-not-checked", "--lib -- a_file_that_was_moved_or_replaced"),
    ("stderr-panics", "--test it -- no_write_to_stderr"),
];
/// Simulated schedules of a run.
pub const SCHEDULES: u64 = 100_000;
/// The targets in fuzz/fuzz_targets.
const TARGETS: [&str; 5] = ["order", "payment", "envelope", "configuration", "card_numbers"];
/// The options that `cargo fuzz` passes to the compiler, those that are stable.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

/// The figures of docs/reliability.md
#[derive(Debug, clap::Args)]
pub struct Reliability {
    /// Simulated schedules
    #[arg(long, default_value_t = SCHEDULES)]
    schedules: u64,
    /// First seed of the schedules
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Seconds of fuzzing of each target
    #[arg(long, default_value_t = 60)]
    fuzz: u64,
    /// Also run `chaos`, `nodes` and `soak`: 40 minutes on an idle machine
    #[arg(long)]
    full: bool,
}

/// Runs the simulation, whose result is the same on every machine; returns whether all of it passed.
pub fn simulate(root: &Path, schedules: u64, first: u64) -> Result<bool> {
    let simulation = simulation(root)?;
    let run = |words: &str| passes(Command::new(&simulation).args(words.split(' ')));
    let schedules = run(&format!("run --schedules {schedules} --first {first}"))?;
    Ok(schedules & run("crash-points --pairs")? & run("mutants")?)
}

/// Runs each part, also after one has failed; returns 1 if any failed.
pub fn run(root: &Path, options: &Reliability) -> Result<u8> {
    let this = std::env::current_exe()?;
    let command = |name: &str| passes(Command::new(&this).arg(name).current_dir(root));
    let parts: [Step<'_>; _] = [
        ("simulation", &|| simulate(root, options.schedules, options.first)),
        ("adapters", &|| adapters(root)),
        ("fuzzing", &|| fuzz(root, options.fuzz)),
        ("chaos", &|| command("chaos")),
        ("nodes", &|| command("nodes")),
        ("soak", &|| command("soak")),
    ];
    let count = if options.full { parts.len() } else { 3 };
    Ok(steps::run(&parts[..count]))
}

/// Builds the simulation with the seeded bugs, all of them inactive, and returns its path.
fn simulation(root: &Path) -> Result<std::path::PathBuf> {
    let words = "build --locked --release -p ecom-simulation --features mutants";
    ensure!(cargo(root, words, &[]).status()?.success(), "the simulation does not build");
    Ok(target(root)?.join("release/ecom-simulation"))
}

/// Runs the test of each seeded bug, which has to fail; it passes without the bug when all tests are run.
fn adapters(root: &Path) -> Result<bool> {
    let mut all = true;
    for (mutant, words) in OF_ADAPTERS {
        // The words of all tests, so that nothing is built again.
        let words = format!("test --locked --all-features --workspace --exclude=micro {words}");
        let mut command = cargo(root, &words, &[]);
        let output = command.env("ECOM_MUTANT", mutant).env("REQUIRE_SERVICES", "0").output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let found = !output.status.success() && text.contains("test result: FAILED");
        println!("{mutant:<28} {}", if found { "found" } else { "NOT FOUND" });
        all &= found;
    }
    Ok(all)
}

/// Fuzzes two targets at a time, each from its committed corpus.
fn fuzz(root: &Path, seconds: u64) -> Result<bool> {
    let folder = root.join("fuzz");
    let host = host(root)?;
    let target = target(root)?.join("fuzz");
    let words = format!("build --locked --release --target {host}");
    let mut build = cargo(&folder, &words, &[]);
    let built = build.env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", &target).status()?;
    ensure!(built.success(), "the fuzz targets do not build");
    let start = |name: &str| -> Result<_> {
        let found = target.join("found").join(name);
        std::fs::create_dir_all(&found)?;
        let mut command = Command::new(target.join(&host).join("release").join(name));
        command.arg(&found).arg(folder.join("corpus").join(name));
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", found.display()));
        command.args(["-max_len=4096", "-print_final_stats=1"]);
        Ok(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?)
    };
    let mut all = true;
    for names in TARGETS.chunks(2) {
        let running: Vec<_> = names.iter().map(|name| start(name)).collect::<Result<_>>()?;
        for (name, child) in names.iter().zip(running) {
            let output = child.wait_with_output()?;
            let text = String::from_utf8_lossy(&output.stderr);
            let runs = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
            let passed = output.status.success();
            println!(
                "{name:<28} {:>10} runs, {}",
                runs.unwrap_or("?").trim(),
                if passed { "0 faults" } else { "FAULT" }
            );
            if !passed {
                println!("{text}");
            }
            all &= passed;
        }
    }
    Ok(all)
}

fn passes(command: &mut Command) -> Result<bool> {
    Ok(command.status().with_context(|| format!("could not start {command:?}"))?.success())
}

/// Returns the target folder.
fn target(root: &Path) -> Result<std::path::PathBuf> {
    let output = cargo(root, "metadata --no-deps --format-version 1", &[]).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(metadata["target_directory"].as_str().context("cargo names no target folder")?.into())
}

/// Returns the triple of this machine, which keeps build scripts free of coverage.
fn host(root: &Path) -> Result<String> {
    let output = Command::new("rustc").arg("-vV").current_dir(root).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}
