//! Logging: lines on stderr, as text or JSON. None has a card number in it, whoever wrote it, and a
//! panic says no more than the code does.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal, Write};

use tracing_subscriber::EnvFilter;

use super::exit::CliError;
use ecom_card_numbers::mask;
use ecom_config::{Color, LogConfig, LogFormat};

/// Clients' own lines, unless asked for: they log per request.
const QUIET: &str = "scylla=warn,hyper=warn,tonic=warn,h2=warn,tower=warn,rustls=warn,google_cloud=warn";

/// Starts logging. `verbosity` shifts the level of our own lines: -2 = errors only, 1 = debug.
pub(crate) fn init(log: &LogConfig, verbosity: i8) -> Result<(), CliError> {
    let ours = match verbosity {
        i8::MIN..=-2 => "ecom=error",
        -1 => "ecom=warn",
        0 => "",
        1 => "ecom=debug",
        2.. => "ecom=trace",
    };
    let directives = [QUIET, log.filter.as_str(), ours];
    let directives: Vec<&str> = directives.into_iter().filter(|part| !part.is_empty()).collect();
    let filter = EnvFilter::try_new(directives.join(","))
        .map_err(|error| CliError::usage(format!("log.filter: {error}")))?;
    let color = match log.color {
        Color::Auto => std::io::stderr().is_terminal(),
        Color::Always => true,
        Color::Never => false,
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Masking(std::io::stderr()));
    match log.format {
        LogFormat::Text => lines.with_ansi(color).with_target(false).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let mut stderr = std::io::stderr().lock();
        // Where stderr is closed there is nobody to tell.
        writeln!(stderr, "{}", panic_line(&place, panic.payload())).ok();
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            writeln!(stderr, "{backtrace}").ok();
        }
    }));
    Ok(())
}

/// What is said of a panic: words that stand in the code, never those that were put together, for
/// they may quote the message that was being read.
fn panic_line(place: &str, payload: &(dyn Any + Send)) -> String {
    match payload.downcast_ref::<&'static str>() {
        Some(words) => format!("panicked at {place}: {words}"),
        None => format!("panicked at {place} (its words are withheld: they may quote a message)"),
    }
}

/// Masks card numbers in whatever is written; a line comes in one piece.
struct Masking<W>(W);

impl<W: Write> Write for Masking<W> {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.write_all(&mask(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_has_a_card_number_whoever_wrote_it() {
        let mut written = Vec::new();
        writeln!(Masking(&mut written), "the server says: invalid value 4111 1111 1111 1111").expect("a Vec");
        let line = String::from_utf8(written).expect("UTF-8");
        assert_eq!(line, "the server says: invalid value **** **** **** 1111\n");
    }

    #[test]
    fn a_panic_says_what_the_code_says_and_quotes_nothing() {
        let payload = |panics: fn()| std::panic::catch_unwind(panics).expect_err("panics");
        let fixed = payload(|| std::panic::panic_any("the invariant"));
        assert_eq!(panic_line("src/x.rs:1:2", fixed.as_ref()), "panicked at src/x.rs:1:2: the invariant");
        let address = "1 Sentinel Street";
        let quoting = payload(|| std::panic::panic_any(format!("cannot read {}", "1 Sentinel Street")));
        let line = panic_line("src/x.rs:1:2", quoting.as_ref());
        assert!(line.starts_with("panicked at src/x.rs:1:2 ") && !line.contains(address), "{line}");
    }
}
