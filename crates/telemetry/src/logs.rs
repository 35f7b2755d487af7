//! Logs: lines on stderr, as text or as one of two kinds of JSON. Card numbers in them are masked, whichever library wrote them.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::format::{FmtSpan, JsonFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::gcp::GcpFormat;
use crate::repeated_lines::OnceAMinute;
use crate::stderr::{self, Stderr, StderrFormat};
use ecom_card_numbers::mask;

/// Client libraries log each request, so they log from WARN unless the filter asks for more.
const QUIET: &str = "scylla=warn,hyper=warn,tonic=warn,h2=warn,tower=warn,rustls=warn,google_cloud=warn,\
     opentelemetry=error";

/// The format of log lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LineFormat {
    /// Text, in colors or without.
    Text {
        /// Adds ANSI colors.
        color: bool,
    },
    /// One JSON object per line.
    Json,
    /// One JSON object per line, with the keys that Google Cloud Logging reads.
    Gcp {
        /// The project that traces belong to, for the links from lines to their traces.
        project: Option<String>,
    },
}

/// Starts logging to stderr and replaces the panic hook. `filter` has the directives of `RUST_LOG`;
/// `verbosity` sets the level of the pipeline's own crates: -2 = ERROR, -1 = WARN, 0 = as the filter says, 1
/// = DEBUG, 2 = TRACE. At DEBUG, each delivery logs a line when its span closes. Fails on an invalid filter.
pub fn init(filter: &str, verbosity: i8, format: LineFormat) -> Result<(), ParseError> {
    let own = match verbosity {
        i8::MIN..=-2 => "ecom=error",
        -1 => "ecom=warn",
        0 => "",
        1 => "ecom=debug",
        2.. => "ecom=trace",
    };
    let directives = [QUIET, filter, own];
    let directives: Vec<&str> = directives.into_iter().filter(|part| !part.is_empty()).collect();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(directives.join(","))?)
        .with_span_events(FmtSpan::CLOSE)
        // The subscriber reports its own errors with a macro that panics where stderr cannot be written.
        .log_internal_errors(false)
        .with_writer(|| Masking(Stderr));
    match format {
        LineFormat::Text { color } => {
            stderr::set_format(StderrFormat::Text);
            lines.with_ansi(color).with_target(false).finish().with(OnceAMinute::default()).init();
        }
        LineFormat::Json => {
            stderr::set_format(StderrFormat::Json);
            lines.json().flatten_event(true).finish().with(OnceAMinute::default()).init();
        }
        LineFormat::Gcp { project } => {
            stderr::set_format(StderrFormat::Gcp);
            let lines = lines.fmt_fields(JsonFields::new()).event_format(GcpFormat::new(project));
            lines.finish().with(OnceAMinute::default()).init();
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let line = panic_line(&place, panic.payload());
        let backtrace = Backtrace::capture();
        match backtrace.status() {
            BacktraceStatus::Captured => stderr::panic(format_args!("{line}\n{backtrace}")),
            _ => stderr::panic(line),
        }
    }));
    Ok(())
}

/// The log line of a panic. A message formatted at run time is left out: it may quote the body that was being
/// processed.
fn panic_line(place: &str, payload: &(dyn Any + Send)) -> String {
    match payload.downcast_ref::<&'static str>() {
        Some(words) => format!("panicked at {place}: {words}"),
        None => format!("panicked at {place} (its message is withheld: it may quote a body)"),
    }
}

/// Masks card numbers in each write; the subscriber writes a line at a time.
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
    fn card_numbers_are_masked_in_every_line() {
        let mut written = Vec::new();
        writeln!(Masking(&mut written), "the server says: invalid value 4111 1111 1111 1111").expect("a Vec");
        let line = String::from_utf8(written).expect("UTF-8");
        assert_eq!(line, "the server says: invalid value **** **** **** 1111\n");
    }

    #[test]
    fn a_panic_shows_a_literal_message_and_withholds_a_formatted_one() {
        let payload = |panics: fn()| std::panic::catch_unwind(panics).expect_err("panics");
        let fixed = payload(|| std::panic::panic_any("the invariant"));
        assert_eq!(panic_line("src/x.rs:1:2", fixed.as_ref()), "panicked at src/x.rs:1:2: the invariant");
        let address = "1 Sentinel Street";
        let quoting = payload(|| std::panic::panic_any(format!("cannot read {}", "1 Sentinel Street")));
        let line = panic_line("src/x.rs:1:2", quoting.as_ref());
        assert!(line.starts_with("panicked at src/x.rs:1:2 ") && !line.contains(address), "{line}");
    }
}
