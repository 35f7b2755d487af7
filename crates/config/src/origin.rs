//! The origin of a value.

use std::fmt;
use std::path::PathBuf;

/// The layer that set a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// `config/default.toml`, as compiled in.
    Default,
    /// A config file.
    File {
        /// As it was named on the command line or in `ECOM_CONFIG`.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// A variable, by name.
    Environment(String),
    /// A flag, by name with its dashes.
    Flag(String),
}

impl Origin {
    /// Returns the place where the value is set; `None` for a default.
    pub(super) fn place(&self) -> Option<String> {
        match self {
            Self::Default => None,
            Self::File { path, line } => Some(format!("{}:{line}", path.display())),
            Self::Environment(name) | Self::Flag(name) => Some(name.clone()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}
