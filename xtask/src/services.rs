//! `services up`, `down`, `status`: a Pub/Sub emulator and a Cassandra node for this host.

mod cassandra;
mod docker;
mod down;
mod emulator;
mod endpoint;
mod java;
mod options;
mod port;
mod state;
mod status;
#[cfg(test)]
pub mod testing;
mod up;

pub use down::down;
pub use endpoint::Endpoint;
pub use options::Options;
pub use up::up;

use crate::failure::{Attempt, Failure, Outcome, say};
use crate::{process, workspace};
use state::{Record, Runner};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What this project needs to run beside itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Google's Pub/Sub emulator.
    Emulator,
    /// One Cassandra node.
    Cassandra,
}

impl Service {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Emulator, Self::Cassandra];

    /// Its name in commands, files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Emulator => "emulator",
            Self::Cassandra => "cassandra",
        }
    }

    /// The variable that tells programs where it is.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Emulator => "PUBSUB_EMULATOR_HOST",
            Self::Cassandra => "CASSANDRA_CONTACT_POINTS",
        }
    }

    /// The port it has when nobody else has it.
    fn usual_port(self) -> u16 {
        match self {
            Self::Emulator => 8085,
            Self::Cassandra => 9042,
        }
    }

    /// How long it may take to start before it counts as failed.
    fn patience(self) -> Duration {
        match self {
            Self::Emulator => Duration::from_secs(60),
            Self::Cassandra => Duration::from_secs(180),
        }
    }

    /// How long it may take to end before it is killed.
    fn grace(self) -> Duration {
        match self {
            Self::Emulator => Duration::from_secs(5),
            Self::Cassandra => Duration::from_secs(30),
        }
    }

    /// Its log, when it runs natively.
    fn log(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.log", self.name()))
    }

    /// Whether it answers at `address`.
    fn answers(self, address: &str) -> bool {
        match self {
            Self::Emulator => emulator::answers(address),
            Self::Cassandra => address.split(',').any(|point| endpoint::accepts(point.trim())),
        }
    }

    /// Whether the log of a native start says that it is ready: another server may have won the
    /// port and answer in its place.
    fn log_says_ready(self, log: &Path) -> bool {
        match self {
            Self::Emulator => emulator::says_ready(log),
            Self::Cassandra => cassandra::says_ready(log),
        }
    }
}

/// Runs `services WORDS`.
pub fn command(words: &[&str]) -> Outcome<u8> {
    let root = workspace::root()?;
    let Some((verb, rest)) = words.split_first() else {
        return Err(Failure::usage("services needs a word more: up, down or status"));
    };
    match *verb {
        "up" => up::command(&root, &Options::up(&root, rest)?),
        "down" => {
            let options = Options::down(&root, rest)?;
            if !down(&root, &options.dir, options.wipe)? {
                say("nothing was started here");
            }
            Ok(0)
        }
        "status" => status::status(&root, &Options::status(&root, rest)?.dir),
        other => Err(Failure::usage(format!("unknown command: services {other}")).hint("up, down or status")),
    }
}

/// The command `services VERB` for this folder, as it can be typed.
fn spelled(root: &Path, dir: &Path, verb: &str) -> String {
    if dir == default_dir(root) {
        return format!("cargo xtask services {verb}");
    }
    format!("cargo xtask services {verb} --dir {}", endpoint::shell_word(&dir.display().to_string()))
}

/// Where state is kept unless a folder is named.
fn default_dir(root: &Path) -> PathBuf {
    root.join("target").join("services")
}

/// Whether what a record describes is still there.
fn is_running(root: &Path, service: Service, record: &Record) -> bool {
    match &record.runner {
        Runner::Native { pid, marker } => process::is_ours(*pid, marker),
        Runner::Docker { project } => docker::is_running(root, project, service),
    }
}

/// One `up` or `down` at a time in a folder.
fn lock(dir: &Path) -> Outcome<File> {
    std::fs::create_dir_all(dir).attempt(format_args!("create {}", dir.display()))?;
    let file = dir.join("lock");
    let lock = File::create(&file).attempt(format_args!("create {}", file.display()))?;
    lock.lock().attempt(format_args!("lock {}", file.display()))?;
    Ok(lock)
}
