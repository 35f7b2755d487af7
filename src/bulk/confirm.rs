//! Confirmation by a person before anything is changed.

use std::convert::Infallible;
use std::io::IsTerminal;

use crate::context::Context;
use crate::exit::CliError;
use ecom_telemetry::stderr;

/// Fails if confirmation is required and there is no terminal to ask at.
pub(super) fn require_terminal(yes: bool) -> Result<(), CliError> {
    if yes || (std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Ok(());
    }
    Err(CliError::usage("confirmation required, but stdin is not a terminal; pass --yes")
        .hint("see what would happen with --dry-run"))
}

/// Asks at the terminal unless `yes`; returns whether the answer is yes.
pub(super) async fn confirm(context: &Context, question: &str, yes: bool) -> Result<bool, CliError> {
    if yes {
        return Ok(true);
    }
    stderr::ask(format_args!("{question} [y/N]"));
    let (answer, answered) = tokio::sync::oneshot::channel();
    // A separate thread, so that the process may end while it still reads.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line).map(|_| line);
        drop(answer.send(read));
    });
    tokio::select! {
        biased;
        () = context.stop.cancelled() => {
            stderr::end_line();
            Err(CliError::failed("stopped before anything was changed"))
        }
        answer = answered => {
            let line = answer.map_err(|_| CliError::failed("could not read the answer from the terminal"))??;
            Ok(is_yes(&line))
        }
    }
}

fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Announces, after the first signal, what the process waits for; never returns.
pub(super) async fn announce_stop(context: &Context) -> Infallible {
    context.stop.cancelled().await;
    stderr::say("stopping after the dead letters in flight; Ctrl-C again to stop now");
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
