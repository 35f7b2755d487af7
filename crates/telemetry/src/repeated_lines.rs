//! Warnings of client libraries that repeat, such as a server's warning with every response: each kind is logged
//! once a minute, with the number of those left out. What a client library calls an error is logged as a warning: the
//! role, which retries, says which of them is an error.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::stderr;
use ecom_clock::LogThrottle;

/// The time between two lines of a kind.
const INTERVAL: Duration = Duration::from_secs(60);
/// The most kinds remembered.
const KINDS: usize = 256;
/// The length of the text that makes a kind, in bytes.
const KIND_LENGTH: usize = 120;

/// Lets one line of each kind through per minute. The lines of this program's own crates all pass: they are
/// limited where they are written.
#[derive(Default, Debug)]
pub(super) struct OnceAMinute(Mutex<HashMap<String, LogThrottle>>);

impl OnceAMinute {
    /// Returns the number of lines left out since the last one of this kind if another may be logged now.
    fn admit(&self, kind: String, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kinds.len() >= KINDS && !kinds.contains_key(&kind) {
            kinds.clear();
        }
        kinds.entry(kind).or_insert_with(|| LogThrottle::every(INTERVAL)).admit(now)
    }
}

impl<S: Subscriber> Layer<S> for OnceAMinute {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if metadata.target().starts_with("ecom") || *metadata.level() > Level::WARN {
            return true;
        }
        let mut kind = Kind(metadata.target().to_owned());
        event.record(&mut kind);
        let Some(left_out) = self.admit(kind.0, Instant::now()) else { return false };
        if left_out > 0 {
            stderr::say(format_args!("{left_out} lines like the next one were left out"));
        }
        if *metadata.level() == Level::WARN {
            return true;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let library = metadata.target().split("::").next().unwrap_or_default();
        tracing::warn!(target: "ecom_telemetry", "{library}: {}{}", text.message, text.fields);
        false
    }
}

/// A line's message, and its fields as they are shown.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        written.ok();
    }
}

/// The start of a line's text, without numbers: addresses and counts differ between lines of one kind.
struct Kind(String);

impl Visit for Kind {
    fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
        let mut text = String::new();
        write!(text, "{value:?}").ok();
        let room = KIND_LENGTH.saturating_sub(self.0.len());
        self.0.extend(text.chars().filter(|c| !c.is_ascii_digit()).take(room));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn each_kind_is_logged_once_a_minute_with_the_number_left_out() {
        let (lines, start) = (OnceAMinute::default(), Instant::now());
        let admit = |kind: &str, seconds| lines.admit(kind.to_owned(), start + Duration::from_secs(seconds));
        assert_eq!(
            (admit("a", 0), admit("a", 1), admit("b", 1), admit("a", 59)),
            (Some(0), None, Some(0), None)
        );
        assert_eq!((admit("a", 60), admit("a", 61), admit("b", 61)), (Some(2), None, Some(0)));
    }

    #[test]
    fn the_error_of_a_client_library_is_a_warning_and_one_of_our_own_is_an_error() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let writer = file.reopen().expect("the file");
        let lines = tracing_subscriber::fmt().with_writer(Mutex::new(writer)).with_ansi(false).finish();
        // A line within a line needs the global default.
        tracing::subscriber::set_global_default(lines.with(OnceAMinute::default())).expect("the only one");
        tracing::error!(target: "scylla::cluster", node = 1, "could not fetch");
        tracing::error!(target: "scylla::cluster", node = 2, "could not fetch");
        tracing::warn!(target: "scylla::cluster", "another");
        tracing::error!(target: "ecom", "own");
        let written = std::fs::read_to_string(file.path()).expect("text");
        let levels: Vec<&str> =
            written.lines().filter_map(|line| Some(line.split_once('Z')?.1.trim_start())).collect();
        assert_eq!(
            levels,
            [
                "WARN ecom_telemetry: scylla: could not fetch node=1",
                "WARN scylla::cluster: another",
                "ERROR ecom: own"
            ]
        );
    }

    #[test]
    fn remembered_kinds_are_bounded() {
        let (lines, now) = (OnceAMinute::default(), Instant::now());
        for kind in 0..1_000 {
            assert_eq!(lines.admit(kind.to_string(), now), Some(0));
        }
        assert!(lines.0.lock().expect("not poisoned").len() <= KINDS);
    }
}
