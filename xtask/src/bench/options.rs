//! The command line of `bench`.

use super::arm::Arm;
use crate::failure::{Failure, Outcome};
use std::path::{Path, PathBuf};

/// How the benchmark runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Rounds over all arms.
    pub rounds: u32,
    /// Events of an arm; peers that are slower get fewer.
    pub events: u64,
    /// Events through both services before the first round.
    pub warm_up: u64,
    /// Streams of every arm that receives; each arm its own number where none is given.
    pub streams: Option<u32>,
    /// Events published and not yet done, at most.
    pub backlog: u64,
    /// Whether what is measured is built first.
    pub build: bool,
    /// Where results, logs and services are.
    pub out: PathBuf,
    only: Vec<Arm>,
}

impl Options {
    /// Reads the words after `bench`.
    pub fn parse(root: &Path, words: &[&str]) -> Outcome<Self> {
        let mut options = Self {
            rounds: 5,
            events: 60_000,
            warm_up: 200_000,
            streams: None,
            backlog: 5_000,
            build: true,
            out: root.join("target").join("bench"),
            only: Vec::new(),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value =
                || words.next().copied().ok_or_else(|| Failure::usage(format!("{word} needs a value")));
            match *word {
                "--quick" => options.rounds = 1,
                "--rounds" => options.rounds = number(word, value()?)?,
                "--events" => options.events = number(word, value()?)?,
                "--backlog" => options.backlog = number(word, value()?)?,
                "--warm-up" => options.warm_up = number(word, value()?)?,
                "--streams" => options.streams = Some(number(word, value()?)?),
                "--out" => options.out = PathBuf::from(value()?),
                "--no-build" => options.build = false,
                "--only" => options.only = arms(value()?)?,
                other => {
                    return Err(Failure::usage(format!("unknown argument of bench: {other}"))
                        .hint("cargo xtask --help lists the options"));
                }
            }
        }
        if options.rounds == 0 || options.events == 0 || options.streams == Some(0) {
            return Err(Failure::usage("--rounds, --events and --streams are at least 1"));
        }
        Ok(options)
    }

    /// The arms to run.
    pub fn arms(&self) -> Vec<Arm> {
        if self.only.is_empty() { Arm::ALL.to_vec() } else { self.only.clone() }
    }
}

fn number<T: std::str::FromStr>(word: &str, value: &str) -> Outcome<T> {
    value.parse().map_err(|_| Failure::usage(format!("{word} needs a number, not {value}")))
}

fn arms(names: &str) -> Outcome<Vec<Arm>> {
    let arm = |name: &str| {
        Arm::parse(name).ok_or_else(|| {
            let all: Vec<&str> = Arm::ALL.into_iter().map(Arm::name).collect();
            Failure::usage(format!("there is no arm {name}")).hint(format!("the arms are {}", all.join(", ")))
        })
    };
    names.split(',').map(|name| arm(name.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Outcome<Options> {
        Options::parse(Path::new("/w"), words)
    }

    #[test]
    fn a_quick_run_is_one_round_of_everything() {
        let options = parse(&["--quick"]).unwrap();
        assert_eq!((options.rounds, options.arms().len()), (1, Arm::ALL.len()));
        assert_eq!(options.out, Path::new("/w/target/bench"));
    }

    #[test]
    fn arms_are_chosen_by_name_and_what_is_unknown_is_refused() {
        assert_eq!(parse(&["--only", "orders,r1-pull"]).unwrap().arms(), [Arm::Orders, Arm::Pull]);
        for bad in [&["--only", "r9"][..], &["--rounds"], &["--rounds", "x"], &["--rounds", "0"], &["fast"]] {
            assert_eq!(parse(bad).unwrap_err().code(), 2, "{bad:?}");
        }
    }
}
