//! The state of what was started: a file per service and a lock per folder.

use super::{Service, docker};
use crate::process;
use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A started service as kept in `DIR/NAME.json`, so that `down` ends exactly that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// `host:port` for clients.
    pub address: String,
    /// Its owner.
    pub runner: Runner,
}

/// The owner of a started service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runner {
    /// A process of this host; its command line contains `marker`.
    Native {
        /// The process id.
        pid: u32,
        /// A part of its command line.
        marker: String,
    },
    /// A compose project of a Docker engine.
    Docker {
        /// The project's name.
        project: String,
    },
}

impl Started {
    /// Reads what was started; `None` where nothing was, or it was stopped.
    pub fn read(dir: &Path, service: Service) -> Result<Option<Self>> {
        let file = Self::file(dir, service);
        let read = match std::fs::read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(anyhow::Error::from).and_then(|text| Ok(serde_json::from_slice(&text)?)),
        };
        let hint = "hint: end that process by hand and remove the file";
        read.map(Some).map_err(|error| anyhow!("could not read {} ({error})\n{hint}", file.display()))
    }

    /// Writes the file so that a reader sees the old one or the new one, never half of one.
    pub fn write(&self, dir: &Path, service: Service) -> Result<()> {
        let (file, draft) = (Self::file(dir, service), dir.join(format!("{}.draft", service.name())));
        std::fs::write(&draft, serde_json::to_vec(self)?)
            .and_then(|()| std::fs::rename(&draft, &file))
            .with_context(|| format!("could not write {}", file.display()))
    }

    /// Forgets a service.
    pub fn remove(dir: &Path, service: Service) {
        let _ = std::fs::remove_file(Self::file(dir, service));
    }

    fn file(dir: &Path, service: Service) -> PathBuf {
        dir.join(format!("{}.json", service.name()))
    }

    /// Returns true while the process or the container is there.
    pub fn is_running(&self, root: &Path, service: Service) -> bool {
        match &self.runner {
            Runner::Native { pid, marker } => process::is_alive(*pid, marker),
            Runner::Docker { project } => docker::is_running(root, project, service),
        }
    }

    /// Describes the owner.
    pub fn by(&self) -> String {
        match &self.runner {
            Runner::Native { pid, .. } => format!("(pid {pid})"),
            Runner::Docker { project } => format!("in Docker (project {project})"),
        }
    }
}

/// Locks a folder: one `up` or `down` at a time.
pub fn lock(dir: &Path) -> Result<File> {
    std::fs::create_dir_all(dir).with_context(|| format!("could not create {}", dir.display()))?;
    let lock = File::create(dir.join("lock")).and_then(|file| file.lock().map(|()| file));
    lock.with_context(|| format!("could not lock {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::super::Data;
    use super::*;

    #[test]
    fn a_folder_remembers_and_forgets_a_service() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let runner = Runner::Native { pid: u32::MAX, marker: "nobody".into() };
        let started = Started { address: "127.0.0.1:1".into(), runner };
        started.write(dir, Service::Cassandra).unwrap();
        assert_eq!(Started::read(dir, Service::Cassandra).unwrap(), Some(started));
        assert_eq!(Started::read(dir, Service::Emulator).unwrap(), None);
        assert!(super::super::down(dir, dir, Data::Kept).unwrap());
        assert_eq!(Started::read(dir, Service::Cassandra).unwrap(), None);
        std::fs::write(Started::file(dir, Service::Emulator), "{").unwrap();
        assert!(
            Started::read(dir, Service::Emulator).unwrap_err().to_string().contains("hint: end that process")
        );
    }
}
