//! Shell completions for all binaries in one script.

use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

use super::cli;
use super::exit::{self, Exit};
use super::output;

/// The name of the zsh function, and of the file that zsh loads it from.
const ZSH: &str = "_ecom";

/// Prints shell completions for all binaries.
pub(crate) fn completions(shell: Shell) -> ExitCode {
    exit::code(output::data(&script(shell, cli::all())).map(|()| Exit::Done))
}

/// Returns the script for these commands.
fn script(shell: Shell, commands: impl IntoIterator<Item = Command>) -> String {
    let mut commands: Vec<Command> = commands.into_iter().collect();
    let scripts = commands.iter_mut().map(|command| {
        let mut script = Vec::new();
        let name = command.get_name().to_owned();
        clap_complete::generate(shell, command, name, &mut script);
        String::from_utf8_lossy(&script).into_owned()
    });
    let scripts: Vec<String> = scripts.collect();
    match shell {
        Shell::Zsh => zsh(&commands, &scripts),
        Shell::Fish => scripts.concat() + &fish_values(&commands),
        _ => scripts.concat(),
    }
}

/// One file for all commands: zsh reads the names from the first line of a file in `fpath`, and calls the function
/// that has the name of the file.
fn zsh(commands: &[Command], scripts: &[String]) -> String {
    let names: Vec<&str> = commands.iter().map(Command::get_name).collect();
    let mut text = format!("#compdef {}\n", names.join(" "));
    for (name, script) in names.iter().zip(scripts) {
        let functions = script.strip_prefix(&format!("#compdef {name}\n")).unwrap_or(script);
        let end = functions.rfind("\nif [ \"$funcstack[1]\"").unwrap_or(functions.len());
        text.push_str(&functions[..end]);
    }
    text.push_str(&format!("\nif [ \"$funcstack[1]\" = \"{ZSH}\" ]; then\n    \"_$service\" \"$@\"\nelse\n"));
    for name in names {
        text.push_str(&format!("    compdef _{name} {name}\n"));
    }
    text + "fi\n"
}

/// The values of positional arguments, which the generator of fish leaves out.
fn fish_values(commands: &[Command]) -> String {
    let mut text = String::new();
    for command in commands {
        let name = command.get_name();
        for subcommand in command.get_subcommands() {
            for argument in subcommand.get_positionals() {
                let values: Vec<String> = argument
                    .get_possible_values()
                    .iter()
                    .filter(|value| !value.is_hide_set())
                    .map(|value| value.get_name().to_owned())
                    .collect();
                if values.is_empty() {
                    continue;
                }
                text.push_str(&format!(
                    "complete -c {name} -n \"__fish_{name}_using_subcommand {}\" -f -a \"{}\"\n",
                    subcommand.get_name(),
                    values.join(" ")
                ));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zsh_reads_all_names_from_the_first_line_and_each_command_has_its_function() {
        let script = script(Shell::Zsh, cli::all());
        let names: Vec<String> =
            cli::all().into_iter().map(|command| command.get_name().to_owned()).collect();
        assert_eq!(script.lines().next(), Some(format!("#compdef {}", names.join(" ")).as_str()));
        assert_eq!(script.matches("#compdef").count(), 1);
        assert_eq!(script.matches("$funcstack[1]").count(), 1);
        for name in names {
            assert!(script.contains(&format!("\n_{name}() {{\n")), "{name}");
            assert!(script.contains(&format!("\n    compdef _{name} {name}\n")), "{name}");
        }
    }

    #[test]
    fn fish_completes_the_shells() {
        let script = script(Shell::Fish, cli::all());
        let line = "complete -c ecom_setup -n \"__fish_ecom_setup_using_subcommand completions\" -f -a \"bash elvish \
                    fish powershell zsh\"";
        assert!(script.lines().any(|own| own == line), "{script}");
    }
}
