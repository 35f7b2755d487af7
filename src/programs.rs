//! All programs in one, by their names: an image needs one file instead of one for each program.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use super::exit::{self, CliError, Exit};
use super::{cli, output};

/// The arguments of a process, the name of the program first.
pub type Arguments = Vec<OsString>;

/// The entry point of a program.
type Program = fn(Arguments) -> ExitCode;

/// The programs of this build, by name.
const PROGRAMS: &[(&str, Program)] = &[
    ("orders_producer", super::orders_producer),
    ("payments_producer", super::payments_producer),
    ("order_consumer", super::order_consumer),
    ("payment_consumer", super::payment_consumer),
    ("dlq_handler", super::dlq_handler),
    ("ecom_setup", super::ecom_setup),
    ("ecom_facts", super::ecom_facts),
    ("ecom_demo", super::ecom_demo),
    #[cfg(feature = "shop")]
    ("api_service", super::api_service),
    #[cfg(feature = "shop")]
    ("payment_processor", super::payment_processor),
    #[cfg(feature = "shop")]
    ("notifier", super::notifier),
    #[cfg(feature = "shop")]
    ("transaction_generator", super::transaction_generator),
];

/// Runs the program by whose name this one was called, through a link, or the one that the first argument names.
/// Prints what there is if that is missing or `--help`.
pub fn ecom(mut arguments: Arguments) -> ExitCode {
    if let Some(program) = arguments.first().and_then(|own| program(Path::new(own).file_stem()?.to_str()?)) {
        return program(arguments);
    }
    let Some(first) = arguments.get(1) else { return listed() };
    if let Some(program) = first.to_str().and_then(program) {
        arguments.remove(0);
        return program(arguments);
    }
    match first.to_str() {
        Some("-h" | "--help" | "help") => listed(),
        Some("-V" | "--version") => {
            exit::code(output::data(&format!("ecom {}\n", env!("CARGO_PKG_VERSION"))).map(|()| Exit::Done))
        }
        _ => {
            let error = CliError::usage(format!("there is no program {}", first.display()));
            exit::code(Err(error.hint("see what there is: ecom --help")))
        }
    }
}

fn program(name: &str) -> Option<Program> {
    PROGRAMS.iter().find(|program| program.0 == name).map(|program| program.1)
}

fn listed() -> ExitCode {
    exit::code(output::data(&list()).map(|()| Exit::Done))
}

/// Returns the names of the programs and what each does.
fn list() -> String {
    let commands = cli::all();
    let mut list = String::from("Usage: ecom PROGRAM [ARGUMENTS]\n\nPrograms:\n");
    for (name, _) in PROGRAMS {
        let about = commands.iter().find(|command| command.get_name() == *name).and_then(|it| it.get_about());
        let _ = writeln!(list, "  {name:<21}  {}", about.map(ToString::to_string).unwrap_or_default());
    }
    list + "\n`ecom PROGRAM --help` shows its arguments. A link to this file that has the name of a program runs that program.\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_line_belongs_to_a_program_and_says_what_it_does() {
        let list = list();
        for command in cli::all() {
            let (name, about) = (command.get_name(), command.get_about().expect("an about").to_string());
            assert!(program(name).is_some(), "{name} is no program");
            assert!(list.contains(&format!("  {name:<21}  {about}\n")), "{list}");
        }
        assert_eq!(PROGRAMS.len(), cli::all().len());
    }
}
