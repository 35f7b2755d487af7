//! Asking a person before anything is changed.

use std::convert::Infallible;
use std::io::IsTerminal;

use crate::context::Context;
use crate::exit::CliError;

/// Refuses to go on where nobody can be asked and nobody has agreed beforehand.
pub(super) fn somebody_answers(yes: bool) -> Result<(), CliError> {
    if yes || (std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Ok(());
    }
    Err(CliError::usage("nobody can be asked: this is no terminal")
        .hint("look at what would happen with --dry-run, then say --yes"))
}

/// Whether the person at the terminal says yes.
pub(super) async fn says_yes(context: &Context, question: &str, yes: bool) -> Result<bool, CliError> {
    if yes {
        return Ok(true);
    }
    eprint!("{question} [y/N] ");
    let (answer, answered) = tokio::sync::oneshot::channel();
    // A thread of its own: the process may end while it still reads.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line).map(|_| line);
        drop(answer.send(read));
    });
    tokio::select! {
        biased;
        () = context.stop.cancelled() => {
            eprintln!();
            Err(CliError::failed("stopped before anything was changed"))
        }
        answer = answered => {
            let line = answer.map_err(|_| CliError::failed("could not read an answer"))??;
            Ok(is_yes(&line))
        }
    }
}

fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Says, once the first signal came, what is waited for; never comes to an end.
pub(super) async fn tells_of_a_stop(context: &Context) -> Infallible {
    context.stop.cancelled().await;
    eprintln!("stopping after the dead letters in flight; Ctrl-C again to stop now");
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for yes in ["y\n", "Y", " yes \r\n"] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n\n", "no", "yes please", "ye"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }
}
