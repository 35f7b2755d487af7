//! Lines on stderr that are not log lines: announcements, summaries, errors, questions. All text that a
//! program writes to stderr goes through [`Stderr`], which never fails: a stderr that is closed, full or
//! broken loses the text, and changes neither the work nor the exit code.

use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};

use super::foreign_text::{printable, visible};
use ecom_domain::mutant::{Mutant, is_active};
use serde_json::{Map, Value};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// The format of the lines, as a number.
static FORMAT: AtomicU8 = AtomicU8::new(StderrFormat::Text as u8);

/// The format of the lines, that of the log lines.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(u8)]
pub enum StderrFormat {
    /// Text.
    #[default]
    Text,
    /// JSON objects with the keys of a log line.
    Json,
    /// JSON objects with the keys that Google Cloud Logging reads.
    Gcp,
}

/// Writes every later line in this format.
pub fn set_format(format: StderrFormat) {
    FORMAT.store(format as u8, Ordering::Relaxed);
}

/// Writes a line. As JSON it has the level INFO.
pub fn say(message: impl Display) {
    write(Level::Info, &message, &[]);
}

/// Writes a line. As JSON it has the level INFO, and the value under `key`.
pub fn say_with(message: impl Display, key: &str, value: Value) {
    write(Level::Info, &message, &[(key, value)]);
}

/// Writes an error, each of its lines after `error: `, and its hint, each of its lines after `hint: `. As
/// JSON they are one object.
pub fn error(message: impl Display, hint: Option<&str>) {
    let hint: Vec<(&str, Value)> = hint.map(|hint| ("hint", Value::from(hint))).into_iter().collect();
    write(Level::Error, &message, &hint);
}

/// Writes the line of a panic. As JSON it has the level ERROR.
pub fn panic(message: impl Display) {
    write(Level::Panic, &message, &[]);
}

/// Writes a question at a terminal, and leaves the cursor behind it.
pub fn ask(question: impl Display) {
    write_text(&format!("{question} "));
}

/// Writes the end of a line at a terminal.
pub fn end_line() {
    write_text("\n");
}

/// A writer to stderr that reports success whatever happens to the text.
#[derive(Clone, Copy, Debug)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        // A failed write is final: nothing is left to report it to.
        let shown = String::from_utf8_lossy(text);
        let written = std::io::stderr().lock().write_all(visible(&shown).as_bytes());
        assert!(written.is_ok() || !is_active(Mutant::StderrPanics), "could not write to stderr");
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    Info,
    Error,
    Panic,
}

fn write(level: Level, message: &dyn Display, fields: &[(&str, Value)]) {
    let keys = match FORMAT.load(Ordering::Relaxed) {
        format if format == StderrFormat::Json as u8 => Some(("timestamp", "level")),
        format if format == StderrFormat::Gcp as u8 => Some(("time", "severity")),
        _ => None,
    };
    let text = match keys {
        Some(keys) => as_json(level, &message.to_string(), fields, &now(), keys),
        None => printable(&as_text(level, &message.to_string(), fields)).into_owned(),
    };
    write_text(&text);
}

fn write_text(text: &str) {
    // One write, so that lines of several threads do not mix.
    Stderr.write_all(text.as_bytes()).ok();
}

fn as_text(level: Level, message: &str, fields: &[(&str, Value)]) -> String {
    if level != Level::Error {
        return format!("{message}\n");
    }
    let mut text: String = message.lines().map(|line| format!("error: {line}\n")).collect();
    for (key, value) in fields {
        let value = value.as_str().unwrap_or_default();
        text.extend(value.lines().map(|line| format!("{key}: {line}\n")));
    }
    text
}

/// Returns a line with these keys for the time and the level.
fn as_json(
    level: Level,
    message: &str,
    fields: &[(&str, Value)],
    now: &str,
    (time_key, level_key): (&str, &str),
) -> String {
    let level = match level {
        Level::Info => "INFO",
        Level::Error | Level::Panic => "ERROR",
    };
    let mut line = Map::new();
    line.insert(time_key.to_owned(), now.into());
    line.insert(level_key.to_owned(), level.into());
    line.insert("message".to_owned(), message.trim_end().into());
    line.extend(fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    format!("{}\n", Value::Object(line))
}

/// The time as log lines have it.
pub(crate) fn now() -> String {
    let mut text = String::new();
    // The clock of the log lines; text takes any time.
    SystemTime.format_time(&mut Writer::new(&mut text)).ok();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_a_line_each_as_text_and_one_object_as_json() {
        let fields = [("hint", Value::from("set a\nset b"))];
        let text = as_text(Level::Error, "a is missing\nb is missing", &fields);
        assert_eq!(text, "error: a is missing\nerror: b is missing\nhint: set a\nhint: set b\n");
        let json =
            as_json(Level::Error, "a \"b\"\nc", &fields, "2026-01-31T18:00:00Z", ("timestamp", "level"));
        assert_eq!(json.matches('\n').count(), 1, "{json}");
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["level"], "ERROR");
        assert_eq!(json["message"], "a \"b\"\nc");
        assert_eq!(json["hint"], "set a\nset b");
        assert_eq!(json["timestamp"], "2026-01-31T18:00:00Z");
    }

    #[test]
    fn the_time_is_that_of_log_lines() {
        let now = now();
        assert!(now.ends_with('Z') && now.contains('T'), "{now}");
    }
}
