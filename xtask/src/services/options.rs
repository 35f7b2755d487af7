//! The options of `services up`, `down` and `status`.

use super::Service;
use super::cassandra::CommitlogSync;
use crate::failure::{Failure, Outcome};
use std::path::{Path, PathBuf};

/// What the command line (and one variable) asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where state, logs and data are kept; absolute.
    pub dir: PathBuf,
    /// One service alone.
    pub only: Option<Service>,
    /// Nothing but `export` lines is wanted.
    pub env: bool,
    /// Free ports, even when the usual ones are free.
    pub free_ports: bool,
    /// Remove data too.
    pub wipe: bool,
    /// How Cassandra writes its commit log.
    pub sync: CommitlogSync,
}

impl Options {
    /// No option given.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, only: None, env: false, free_ports: false, wipe: false, sync: CommitlogSync::default() }
    }

    /// Those of `up`.
    pub fn up(root: &Path, words: &[&str]) -> Outcome<Self> {
        let mut options =
            Self::parse(root, "up", &["--env", "--only", "--free-ports", "--commitlog-sync"], words)?;
        if !words.contains(&"--commitlog-sync")
            && let Ok(mode) = std::env::var("ECOM_CASSANDRA_COMMITLOG_SYNC")
        {
            options.sync = CommitlogSync::parse(&mode)?;
        }
        Ok(options)
    }

    /// Those of `down`.
    pub fn down(root: &Path, words: &[&str]) -> Outcome<Self> {
        Self::parse(root, "down", &["--wipe"], words)
    }

    /// Those of `status`.
    pub fn status(root: &Path, words: &[&str]) -> Outcome<Self> {
        Self::parse(root, "status", &[], words)
    }

    fn parse(root: &Path, verb: &str, known: &[&str], words: &[&str]) -> Outcome<Self> {
        let mut options = Self::new(super::default_dir(root));
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if *word != "--dir" && !known.contains(word) {
                return Err(Failure::usage(format!("unknown option of services {verb}: {word}"))
                    .hint("cargo xtask --help lists the options"));
            }
            match *word {
                "--env" => options.env = true,
                "--free-ports" => options.free_ports = true,
                "--wipe" => options.wipe = true,
                valued => {
                    let value =
                        words.next().ok_or_else(|| Failure::usage(format!("{valued} needs a value")))?;
                    options.set(valued, value)?;
                }
            }
        }
        Ok(options)
    }

    fn set(&mut self, option: &str, value: &str) -> Outcome<()> {
        match option {
            "--dir" => {
                self.dir = std::path::absolute(value)
                    .map_err(|error| Failure::usage(format!("--dir {value} is no folder ({error})")))?;
            }
            "--commitlog-sync" => self.sync = CommitlogSync::parse(value)?,
            _ => {
                let named = Service::ALL.into_iter().find(|service| service.name() == value);
                let unknown =
                    || Failure::usage(format!("unknown service: {value}")).hint("emulator or cassandra");
                self.only = Some(named.ok_or_else(unknown)?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Outcome<Options> {
        Options::parse(Path::new("/r"), "up", &["--env", "--only", "--free-ports", "--commitlog-sync"], words)
    }

    #[test]
    fn state_is_kept_under_the_workspace_unless_a_folder_is_named() {
        assert_eq!(parse(&[]).unwrap(), Options::new("/r/target/services".into()));
        assert_eq!(parse(&["--dir", "/x"]).unwrap().dir, PathBuf::from("/x"));
        assert!(parse(&["--dir", "x"]).unwrap().dir.is_absolute());
    }

    #[test]
    fn every_option_of_up_is_understood() {
        let options =
            parse(&["--env", "--free-ports", "--only", "cassandra", "--commitlog-sync", "batch"]).unwrap();
        assert!(options.env && options.free_ports);
        assert_eq!(options.only, Some(Service::Cassandra));
        assert_eq!(options.sync, CommitlogSync::Batch);
    }

    #[test]
    fn what_is_not_understood_is_bad_usage() {
        for words in [&["--wipe"][..], &["--only", "redis"], &["--only"], &["extra"]] {
            assert_eq!(parse(words).unwrap_err().code(), 2, "{words:?}");
        }
    }
}
