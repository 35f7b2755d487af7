//! Query parameters: every fault at once, and unknown ones are faults.

use std::ops::RangeInclusive;

use super::problem::{FieldFault, Problem, ProblemCode, repeatable};

/// The parameters of a query that were not read yet.
pub(crate) struct Query {
    parameters: Vec<(String, String)>,
    faults: Vec<FieldFault>,
}

impl Query {
    /// Takes the parameters of a request.
    pub(crate) fn new(parameters: Vec<(String, String)>) -> Self {
        Self { parameters, faults: Vec::new() }
    }

    /// Takes a parameter; `None` if it is absent.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.parameters.iter().position(|(parameter, _)| parameter == name)?;
        Some(self.parameters.remove(at).1)
    }

    /// Reads a whole number in a range; `None` if it is absent.
    pub(crate) fn integer(&mut self, name: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let text = self.take(name)?;
        // In a JSON schema, 2.0 is a whole number, too.
        let (digits, fraction) = text.split_once('.').unwrap_or((&text, "0"));
        let is_whole = !fraction.is_empty() && fraction.bytes().all(|digit| digit == b'0');
        let number = digits.parse().ok().filter(|number| is_whole && range.contains(number));
        if number.is_none() {
            self.fault(name, format!("must be a whole number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// Returns whether there is no fault so far.
    pub(crate) fn is_faultless(&self) -> bool {
        self.faults.is_empty()
    }

    /// Notes a fault of a parameter.
    pub(crate) fn fault(&mut self, name: &str, detail: impl Into<String>) {
        self.faults.push(FieldFault { pointer: name.to_owned(), detail: detail.into() });
    }

    /// Returns an error if a parameter is at fault, is unknown, or is given twice.
    pub(crate) fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.parameters) {
            self.fault(repeatable(&name), "is unknown, or given twice");
        }
        if self.faults.is_empty() {
            return Ok(());
        }
        Err(Problem { errors: self.faults, ..Problem::new(ProblemCode::InvalidQuery) })
    }
}
