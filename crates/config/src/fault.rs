//! Faults of a configuration.

use std::fmt;

/// One fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// A file with its line, a variable or a flag; `None` if the fault is that nothing is set.
    pub place: Option<String>,
    /// Names the key and what is wrong with it; never contains a secret.
    pub message: String,
    /// The way to fix it, if the message does not say it.
    pub hint: Option<String>,
}

impl Fault {
    pub(super) fn new(place: Option<String>, message: String) -> Self {
        Self { place, message, hint: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// All faults of a configuration; `Display` writes one per line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Returns the hints in the order of the faults, each once.
    pub fn hints(&self) -> Vec<&str> {
        let mut hints: Vec<&str> = Vec::new();
        for hint in self.0.iter().filter_map(|fault| fault.hint.as_deref()) {
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        hints
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
