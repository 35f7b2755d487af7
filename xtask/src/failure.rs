//! What every command returns when it could not do its work, and how it talks.

use std::fmt;
use std::io::Write;

/// The result of anything that can fail.
pub type Outcome<T> = Result<T, Failure>;

/// One sentence on what was attempted and what went wrong, and the way out if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    what: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// Something failed while running (exit code 1).
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, code: 1 }
    }

    /// The command line was wrong (exit code 2).
    pub fn usage(what: impl Into<String>) -> Self {
        Self { code: 2, ..Self::new(what) }
    }

    /// Adds the way out.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The sentence alone.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The way out, if there is one.
    pub fn way_out(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The exit code it calls for.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Turns an I/O error into a failure that says what was attempted.
pub trait Attempt<T> {
    /// `what` reads as "could not {what}".
    fn attempt(self, what: impl fmt::Display) -> Outcome<T>;
}

impl<T> Attempt<T> for std::io::Result<T> {
    fn attempt(self, what: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| Failure::new(format!("could not {what} ({error})")))
    }
}

/// Says a line to the person, on stderr. A closed stderr is no reason to stop.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Prints a line of data, on stdout. A closed pipe is no reason to stop.
pub fn print(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_its_way_out_on_a_line_of_its_own() {
        let failure = Failure::new("could not reach it").hint("start it");
        assert_eq!(failure.to_string(), "error: could not reach it\nhint: start it");
        assert_eq!(failure.code(), 1);
        assert_eq!(Failure::usage("what?").code(), 2);
    }
}
