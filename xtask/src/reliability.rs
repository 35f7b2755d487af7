//! `reliability`: the figures of docs/reliability.md, from simulated schedules to fuzzing.

use crate::cargo;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Seeded bugs of adapters, each with the words of `cargo test` that must find it.
const OF_ADAPTERS: [(&str, &str); 3] = [
    ("stream-end-is-end", "--test wire -- no_fault_at_any_position_loses_a_message"),
    ("file-not-checked", "--lib -- a_file_that_was_moved_or_replaced"),
    ("stderr-panics", "--test it -- no_write_to_stderr"),
];
/// The targets in fuzz/fuzz_targets.
const TARGETS: [&str; 5] = ["order", "payment", "envelope", "configuration", "card_numbers"];
/// What `cargo fuzz` passes to the compiler, in stable options.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

/// The figures of docs/reliability.md
#[derive(Debug, clap::Args)]
pub struct Reliability {
    /// Simulated schedules
    #[arg(long, default_value_t = 100_000)]
    schedules: u64,
    /// First seed of the schedules
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Seconds of fuzzing of each target
    #[arg(long, default_value_t = 60)]
    fuzz: u64,
    /// Also run `chaos`, `nodes` and `soak`: half an hour on an idle machine
    #[arg(long)]
    full: bool,
}

/// Runs what the simulation decides alone: the same on every machine. Returns whether all passed.
pub fn simulate(root: &Path) -> Result<bool> {
    let simulation = simulation(root)?;
    let simulate = |words: &str| passes(Command::new(&simulation).args(words.split(' ')));
    Ok(simulate("run --schedules 100000")? & simulate("crash-points --pairs")? & simulate("mutants")?)
}

/// Runs each part, also after one has failed; returns 1 if any failed.
pub fn run(root: &Path, options: &Reliability) -> Result<u8> {
    let simulation = simulation(root)?;
    let (schedules, first) = (options.schedules.to_string(), options.first.to_string());
    let simulate = |words: &[&str]| passes(Command::new(&simulation).args(words));
    let mut failed = false;
    let mut part = |title: &str, run: &mut dyn FnMut() -> Result<bool>| {
        println!("\n== {title}");
        let started = Instant::now();
        let passed = run().unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            false
        });
        let result = if passed { "passed" } else { "FAILED" };
        println!("{title}: {result} in {:.1} s", started.elapsed().as_secs_f64());
        failed |= !passed;
    };
    part("schedules", &mut || simulate(&["run", "--schedules", &schedules, "--first", &first]));
    part("crash points", &mut || simulate(&["crash-points", "--pairs"]));
    part("seeded bugs of the pipeline", &mut || simulate(&["mutants"]));
    part("seeded bugs of the adapters", &mut || adapters(root));
    part("fuzzing", &mut || fuzz(root, options.fuzz));
    for command in ["chaos", "nodes", "soak"].iter().filter(|_| options.full) {
        part(command, &mut || passes(Command::new(std::env::current_exe()?).arg(command).current_dir(root)));
    }
    Ok(u8::from(failed))
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
