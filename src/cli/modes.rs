//! Parsing, with the refusal of flags that have no effect in the mode that the other arguments select.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, Parser};

use crate::{logs, traces};
use ecom_telemetry::stderr::{self, StderrFormat};

/// A mode of a command line, and the arguments that have no effect in it.
pub(crate) struct Mode {
    /// The mode, as the end of a sentence: `with --preset`.
    pub(super) name: &'static str,
    /// The ids of the arguments; those of a subcommand begin with its name and a dot.
    pub(super) without_effect: &'static [&'static str],
}

/// The name of the mode in which CSV is not written.
pub(super) const WITHOUT_CSV: &str = "without --format csv";

/// A command line whose flags depend on its mode.
pub(crate) trait Modes: Parser {
    /// The modes that the command line selects; none by default.
    fn modes(&self) -> Vec<Mode> {
        Vec::new()
    }
}

/// Parses a command line, the name of the program first. Ends the process where the command line is wrong, or has a flag
/// without effect.
pub(crate) fn parse<C: Modes>(arguments: Vec<OsString>) -> C {
    // Errors come before the configuration says which format log lines have.
    let format = logs::format_of(&arguments);
    stderr::set_format(format);
    let command = C::command();
    traces::set_program(command.get_name());
    let matches = command.try_get_matches_from(arguments);
    matches.and_then(try_parse).unwrap_or_else(|error| refuse(&error, format))
}

/// Ends the process with an error of its command line, or with the help that it asks for.
fn refuse(error: &clap::Error, format: StderrFormat) -> ! {
    if format == StderrFormat::Text || !error.use_stderr() {
        error.exit();
    }
    let text = error.to_string();
    stderr::error(text.strip_prefix("error: ").unwrap_or(&text), None);
    std::process::exit(error.exit_code());
}

fn try_parse<C: Modes>(matches: ArgMatches) -> Result<C, clap::Error> {
    let mut command = C::command();
    let parsed = C::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    for mode in parsed.modes() {
        if let Some(flag) = mode.without_effect.iter().find(|id| is_given(&matches, id)) {
            let error = format!("{} has no effect {}", shown(&command, flag), mode.name);
            return Err(command.error(ErrorKind::ArgumentConflict, error));
        }
    }
    Ok(parsed)
}

fn is_given(matches: &ArgMatches, id: &str) -> bool {
    match id.split_once('.') {
        Some((subcommand, id)) => {
            matches.subcommand_matches(subcommand).is_some_and(|matches| is_given(matches, id))
        }
        None => {
            matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
        }
    }
}

/// The argument with this id.
fn argument<'c>(command: &'c Command, id: &str) -> Option<&'c Arg> {
    match id.split_once('.') {
        Some((subcommand, id)) => argument(command.find_subcommand(subcommand)?, id),
        None => command.get_arguments().find(|argument| argument.get_id() == id),
    }
}

/// The flag of an argument, as it is typed.
fn shown(command: &Command, id: &str) -> String {
    let flag = argument(command, id).and_then(|argument| argument.get_long()).unwrap_or(id);
    format!("--{flag}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Demo;
    use crate::cli::{
        DlqHandler, Facts, OrderConsumer, OrdersProducer, PaymentConsumer, PaymentsProducer, Setup,
    };

    /// The ids that a command line has, and those that it names as without effect.
    fn check<C: Modes>(words: &[&str]) {
        let matches = C::command().try_get_matches_from(words).unwrap();
        for mode in C::from_arg_matches(&matches).unwrap().modes() {
            for id in mode.without_effect {
                assert!(argument(&C::command(), id).is_some(), "{words:?}: there is no argument {id}");
            }
        }
    }

    #[test]
    fn every_argument_without_effect_exists() {
        let id = "20240121-07-0123456789abcdef0123456789abcdef";
        for words in [&["x"][..], &["x", "--preset", "reference"], &["x", "--from", "-"]] {
            check::<OrdersProducer>(words);
            check::<PaymentsProducer>(words);
        }
        check::<OrderConsumer>(&["x"]);
        check::<PaymentConsumer>(&["x"]);
        for words in [
            &["x"][..],
            &["x", "run"],
            &["x", "triage"],
            &["x", "show", id],
            &["x", "list"],
            &["x", "history"],
        ] {
            check::<DlqHandler>(words);
        }
        for words in [&["x"][..], &["x", "--print", "cql"], &["x", "completions", "bash"]] {
            check::<Setup>(words);
        }
        check::<Facts>(&["x", "show", "1"]);
        check::<Demo>(&["x"]);
    }
}
