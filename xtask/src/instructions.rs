//! `instructions`: what an event costs in machine instructions, held against the numbers in the
//! repository. A count, not a time: the same on a busy machine.

use crate::failure::{Attempt, Failure, Outcome, print, say};
use crate::process;
use crate::test::{Services, required_by_environment};
use crate::workspace::{self, cargo};
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The paths of `benches/micro`, by name.
const PATHS: [&str; 6] = ["order", "payment", "settle", "envelope", "dyn", "direct"];
/// The numbers, beside the program that is counted.
const NUMBERS: &str = "benches/instructions.txt";
/// What the numbers are of: another instruction set has others.
const ARCH: &str = "x86_64";
/// Events of the shorter of two runs; a multiple of the number of different messages of `micro`.
const EVENTS: u64 = 6_400;
/// How far a count may be from its number, in percent of it.
const MARGIN: u64 = 5;

/// What becomes of the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// They are held against the numbers.
    Compare,
    /// They become the numbers.
    Update,
}

/// A path and its instructions an event.
type Count = (String, u64);

/// How a count stands to its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// Within the margin.
    Same,
    /// Above it: a failure.
    More,
    /// Below it: the number is to be updated, or the gain can be lost again unnoticed.
    Less,
    /// There is no number: a failure.
    New,
}

/// Runs it.
pub fn command(words: &[&str]) -> Outcome<u8> {
    match words {
        [] => run(Purpose::Compare),
        ["--update"] => run(Purpose::Update),
        _ => Err(Failure::usage(format!("unknown argument of instructions: {}", words.join(" ")))
            .hint("the only one is --update")),
    }
}

/// Counts and compares; without valgrind, or on another instruction set, it is left out.
pub fn check() -> Outcome<u8> {
    run(Purpose::Compare)
}

fn run(purpose: Purpose) -> Outcome<u8> {
    if let Some(missing) = missing() {
        return match (purpose, required_by_environment()) {
            (Purpose::Compare, Services::Optional) => {
                say(&format!("not run: instructions an event: {}", missing.what()));
                Ok(0)
            }
            (Purpose::Update, _) | (_, Services::Required) => Err(missing),
        };
    }
    let root = workspace::root()?;
    let words = ["build", "--release", "--locked", "-p", "micro", "--bin", "micro"];
    say(&format!("cargo {}", words.join(" ")));
    if !cargo(&root, &words).status().attempt("start cargo")?.success() {
        return Err(Failure::new("what is to be counted does not build"));
    }
    let micro = workspace::target(&root).join("release").join("micro");
    let counts = PATHS.iter().map(|path| Ok((path.to_string(), per_event(&micro, path)?)));
    let counts = counts.collect::<Outcome<Vec<Count>>>()?;
    let file = root.join(NUMBERS);
    match purpose {
        Purpose::Update => {
            let text = written(&counts, &toolchain());
            std::fs::write(&file, text).attempt(format_args!("write {NUMBERS}"))?;
            say(&format!("{NUMBERS} is up to date"));
            Ok(0)
        }
        Purpose::Compare => {
            let text = std::fs::read_to_string(&file).attempt(format_args!("read {NUMBERS}"))?;
            Ok(report(&read(&text)?, &counts))
        }
    }
}

/// What keeps this machine from counting.
fn missing() -> Option<Failure> {
    if std::env::consts::ARCH != ARCH {
        return Some(Failure::new(format!("the numbers are of {ARCH}, not of {}", std::env::consts::ARCH)));
    }
    process::on_path("valgrind")
        .is_none()
        .then(|| Failure::new("found no valgrind on PATH").hint("install the package valgrind"))
}

/// The compiler, as it calls itself: another one makes other code.
fn toolchain() -> String {
    let said = Command::new("rustc").arg("-V").stdin(Stdio::null()).output();
    said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default()
}

/// Instructions an event: of twice as many less those of once as many, so that whatever a run takes
/// once is in neither.
fn per_event(micro: &Path, path: &str) -> Outcome<u64> {
    let (once, twice) = (counted(micro, path, EVENTS)?, counted(micro, path, 2 * EVENTS)?);
    let more = twice.checked_sub(once).filter(|more| *more > 0);
    let more = more.ok_or_else(|| Failure::new(format!("{path}: twice the events took no more")))?;
    Ok((more + EVENTS / 2) / EVENTS)
}

/// The instructions of doing a path this many times, without preparing it.
fn counted(micro: &Path, path: &str, events: u64) -> Outcome<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=micro::measured*"])
        .arg(micro)
        .args(["run", path, &events.to_string()])
        .stdin(Stdio::null());
    let output = valgrind.output().attempt("start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    match collected(&said) {
        Some(count) if output.status.success() && count > 0 => Ok(count),
        _ => Err(Failure::new(format!("callgrind counted nothing of `micro run {path} {events}`:\n{said}"))),
    }
}

/// The total in what callgrind says at its end.
fn collected(said: &str) -> Option<u64> {
    let total = |line: &str| line.split_once("Collected :")?.1.split_whitespace().next()?.parse().ok();
    said.lines().find_map(total)
}

/// The numbers of a file: lines with a path and a number; `#` begins a comment.
fn read(text: &str) -> Outcome<Vec<Count>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let count = |line: &str| {
        let (path, number) = line.split_once(char::is_whitespace)?;
        Some((path.to_owned(), number.trim().parse().ok()?))
    };
    lines
        .map(|line| {
            count(line).ok_or_else(|| Failure::new(format!("{NUMBERS} has a line that is no number: {line}")))
        })
        .collect()
}

/// The file of these numbers.
fn written(counts: &[Count], toolchain: &str) -> String {
    let mut text = format!(
        "\
# Machine instructions an event, by path of benches/micro. `cargo xtask instructions` counts them
# with callgrind and fails above {MARGIN} % more; `cargo xtask instructions --update` writes this file.
# They depend on code, compiler, profile and instruction set, not on the machine's speed or load.
# compiler: {toolchain}; profile: release; instruction set: {ARCH}
"
    );
    for (path, number) in counts {
        let _ = writeln!(text, "{path:<10}{number:>8}");
    }
    text
}

fn stand(was: Option<u64>, is: u64) -> Stand {
    match was {
        None => Stand::New,
        Some(was) if is * 100 > was * (100 + MARGIN) => Stand::More,
        Some(was) if is * 100 < was * (100 - MARGIN) => Stand::Less,
        Some(_) => Stand::Same,
    }
}

/// Prints every path with what it was and is; 1 where one has more than the margin allows.
fn report(numbers: &[Count], counts: &[Count]) -> u8 {
    let (table, failed) = compared(numbers, counts);
    print(&table);
    if failed {
        say(&format!(
            "hint: find what the change added, or, where that is meant, or the compiler is another than {NUMBERS} \
             says: cargo xtask instructions --update"
        ));
    }
    u8::from(failed)
}

/// A line for each path, and whether one of them is a failure.
fn compared(numbers: &[Count], counts: &[Count]) -> (String, bool) {
    let mut table = format!("{:<10}{:>8}{:>8}  instructions/event", "path", "was", "is");
    let mut failed = false;
    for (path, is) in counts {
        let was = numbers.iter().find(|(known, _)| known == path).map(|(_, number)| *number);
        let stand = stand(was, *is);
        failed |= matches!(stand, Stand::More | Stand::New);
        let says = match stand {
            Stand::Same => String::new(),
            Stand::More => format!("  MORE than {MARGIN} % above"),
            Stand::Less => format!("  more than {MARGIN} % below: update the number"),
            Stand::New => "  NO NUMBER yet".to_owned(),
        };
        let was = was.map_or_else(|| "-".to_owned(), |was| was.to_string());
        let _ = write!(table, "\n{path:<10}{was:>8}{is:>8}{says}");
    }
    (table, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, u64)]) -> Vec<Count> {
        of.iter().map(|(path, number)| ((*path).to_owned(), *number)).collect()
    }

    #[test]
    fn the_total_is_found_in_what_callgrind_says() {
        let said = "==7== Events    : Ir\n==7== Collected : 1204567\n==7== \n";
        assert_eq!(collected(said), Some(1_204_567));
        assert_eq!(collected("==7== Events    : Ir\n"), None);
        assert_eq!(collected("==7== Collected : \n"), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let numbers = counts(&[("order", 9_120), ("dyn", 350)]);
        let text = written(&numbers, "rustc 1.91.0");
        assert!(text.contains("rustc 1.91.0"), "{text}");
        assert_eq!(read(&text), Ok(numbers));
    }

    #[test]
    fn a_line_that_is_no_number_is_named() {
        for line in ["order", "order many", "order -3"] {
            let failure = read(&format!("# a comment\n\ndyn 350\n{line}\n")).unwrap_err();
            assert!(failure.what().ends_with(&format!(": {line}")), "{failure}");
        }
    }

    #[test]
    fn only_what_is_beyond_the_margin_is_told_from_the_number() {
        for (is, expected) in [
            (1_051, Stand::More),
            (1_050, Stand::Same),
            (1_000, Stand::Same),
            (950, Stand::Same),
            (949, Stand::Less),
        ] {
            assert_eq!(stand(Some(1_000), is), expected, "{is}");
        }
        assert_eq!(stand(None, 1), Stand::New);
    }

    #[test]
    fn more_and_new_are_failures_and_less_is_none() {
        let numbers = counts(&[("order", 1_000), ("payment", 1_000)]);
        let (table, failed) = compared(&numbers, &counts(&[("order", 900), ("payment", 1_050)]));
        assert!(!failed && table.contains("order         1000     900  more than 5 % below"), "{table}");
        let (table, failed) = compared(&numbers, &counts(&[("order", 1_000), ("payment", 1_100)]));
        assert!(failed && table.ends_with("payment       1000    1100  MORE than 5 % above"), "{table}");
        let (table, failed) = compared(&numbers, &counts(&[("settle", 10)]));
        assert!(failed && table.ends_with("settle           -      10  NO NUMBER yet"), "{table}");
    }
}
