//! What one event costs in time, and the program that callgrind counts the instructions of.
#![allow(clippy::disallowed_methods, reason = "it measures by the real clock and pauses no time")]

use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::Instant;

use micro::{Path, measured, per_event};

const USAGE: &str = "\
usage: micro COMMAND
  time          nanoseconds an event, for every path
  run PATH N    do a path N times and nothing else
  blocks        heap blocks an event, for every path; 3 where one has more than its limit
paths: order payment settle envelope dyn direct";

/// The program beside this one that counts heap blocks: its allocator would slow this one down.
const BLOCKS: &str = "micro-blocks";
/// Events of a round; a multiple of the number of different messages.
const EVENTS: usize = 64_000;
/// Rounds after the first, which only warms up.
const ROUNDS: usize = 11;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["time"] => time(),
        ["blocks"] => return blocks(),
        ["run", path, events] => match (Path::parse(path), events.parse()) {
            (Some(path), Ok(events)) => measured(path.prepare(events)),
            _ => return usage(),
        },
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    say(USAGE);
    ExitCode::from(2)
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn print(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Prints the median round of every path, and how far the fastest and the slowest are from it.
fn time() {
    print(&format!("{:<10}{:>10}{:>10}{:>10}  ns/event", "path", "median", "fastest", "slowest"));
    for path in Path::ALL {
        let mut rounds: Vec<f64> = (0..=ROUNDS).map(|_| round(path)).skip(1).collect();
        rounds.sort_by(f64::total_cmp);
        let (median, fastest, slowest) = (rounds[ROUNDS / 2], rounds[0], rounds[ROUNDS - 1]);
        print(&format!("{:<10}{median:>10.0}{fastest:>10.0}{slowest:>10.0}", path.name()));
    }
}

fn round(path: Path) -> f64 {
    let work = path.prepare(EVENTS);
    let started = Instant::now();
    measured(work);
    let took = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    per_event(took, EVENTS as u64)
}

fn blocks() -> ExitCode {
    let counter = std::env::current_exe().map(|program| program.with_file_name(BLOCKS));
    match counter.and_then(|counter| Command::new(counter).status()) {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1).into(),
        Err(error) => {
            say(&format!("error: could not start {BLOCKS} ({error})"));
            say("hint: cargo build --release -p micro");
            ExitCode::FAILURE
        }
    }
}
