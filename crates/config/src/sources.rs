//! The sources of settings, as values: only `from_process` reads the process.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The sources of [`load`](super::load), apart from the defaults.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// The files of `-c`, later ones win; those of `ECOM_CONFIG` are laid below them.
    pub files: Vec<PathBuf>,
    /// The variables, each with its name.
    pub env: Vec<(String, OsString)>,
    /// `--set` and the named flags, in the order given; later ones win.
    pub sets: Vec<Set>,
}

impl Sources {
    /// Takes these files and flags, and the environment of this process.
    pub fn from_process(files: Vec<PathBuf>, sets: Vec<Set>) -> Self {
        // `vars()` panics on a variable that is not UTF-8, even one that has nothing to do with us.
        let env =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
        Self { files, env, sets }
    }

    /// Returns the files of `ECOM_CONFIG` (separated as in `PATH`), then those of `-c`.
    pub(super) fn config_files(&self) -> Vec<PathBuf> {
        let named =
            self.env.iter().find(|(name, _)| name == "ECOM_CONFIG").map(|(_, value)| value.as_os_str());
        std::env::split_paths(named.unwrap_or_default())
            .filter(|path| !path.as_os_str().is_empty())
            .chain(self.files.iter().cloned())
            .collect()
    }
}

impl fmt::Debug for Sources {
    /// Shows names only: a value may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Sources")
            .field("files", &self.files)
            .field("env", &names)
            .field("sets", &self.sets)
            .finish()
    }
}

/// One key set on the command line.
#[derive(Clone, PartialEq, Eq)]
pub struct Set {
    /// The dotted key.
    pub key: String,
    /// The value as text, parsed as the type of the key; lists have commas. A path may have any bytes.
    pub value: OsString,
    /// The flag as it is shown to people: `--set`, `--streams`.
    pub origin: String,
}

impl Set {
    /// A key that a named flag sets.
    pub fn flag(origin: &str, key: &str, value: impl Into<OsString>) -> Self {
        Self { key: key.to_owned(), value: value.into(), origin: origin.to_owned() }
    }

    /// The keys that `--embedded` sets.
    pub fn embedded() -> [Self; 2] {
        ["bus.kind", "store.kind"].map(|key| Self::flag("--embedded", key, "embedded"))
    }
}

impl fmt::Debug for Set {
    /// Leaves out the value, which may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}=…", self.origin, self.key)
    }
}

#[cfg(unix)]
impl TryFrom<&OsStr> for Set {
    type Error = SetError;

    /// Parses `section.key=value`, whose value may have any bytes.
    fn try_from(text: &OsStr) -> Result<Self, SetError> {
        use std::os::unix::ffi::OsStrExt;
        let bytes = text.as_bytes();
        let split = bytes.iter().position(|byte| *byte == b'=').ok_or(SetError)?;
        let key = std::str::from_utf8(&bytes[..split]).map_err(|_| SetError)?.trim();
        let value = OsStr::from_bytes(&bytes[split + 1..]);
        if key.is_empty() { Err(SetError) } else { Ok(Self::flag("--set", key, value)) }
    }
}

#[cfg(not(unix))]
impl TryFrom<&OsStr> for Set {
    type Error = SetError;

    /// Parses `section.key=value`.
    fn try_from(text: &OsStr) -> Result<Self, SetError> {
        text.to_str().ok_or(SetError)?.parse()
    }
}

/// The text after `--set` is not `section.key=value`.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("expected section.key=value")]
pub struct SetError;

impl FromStr for Set {
    type Err = SetError;

    /// Parses `section.key=value`, the form of `--set`.
    fn from_str(text: &str) -> Result<Self, SetError> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok(Self::flag("--set", key.trim(), value)),
            _ => Err(SetError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_split_at_its_first_equals_sign() {
        let set: Set = "log.filter=ecom=debug".parse().unwrap();
        assert_eq!(set, Set::flag("--set", "log.filter", "ecom=debug"));
        assert_eq!("log.filter".parse::<Set>(), Err(SetError));
        assert_eq!("=x".parse::<Set>(), Err(SetError));
    }

    #[test]
    fn the_files_of_the_variable_come_before_those_of_the_flag() {
        let sources = Sources {
            files: vec!["c.toml".into()],
            env: vec![("ECOM_CONFIG".into(), "a.toml:b.toml:".into())],
            sets: vec![],
        };
        assert_eq!(sources.config_files(), ["a.toml", "b.toml", "c.toml"].map(PathBuf::from));
    }

    #[test]
    fn sources_do_not_show_values() {
        let sources = Sources {
            env: vec![("ECOM__STORE__CASSANDRA__PASSWORD".into(), "hunter2".into())],
            sets: vec![Set::flag("--set", "store.cassandra.password", "hunter2")],
            ..Sources::default()
        };
        assert!(!format!("{sources:?}").contains("hunter2"));
    }
}
