//! The state of what was started: a file per service and a lock per folder.

use super::{Data, Service, docker, native};
use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::ErrorKind;
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
    /// This host, and the process's id.
    Native { pid: u32 },
    /// A Docker engine, and the name of the compose project.
    Docker { project: String },
}

impl Started {
    /// Reads what was started; `None` where nothing was, or it was stopped.
    pub fn read(dir: &Path, service: Service) -> Result<Option<Self>> {
        let file = Self::file(dir, service);
        let read = match fs::read(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(anyhow::Error::from).and_then(|text| Ok(serde_json::from_slice(&text)?)),
        };
        let hint = "hint: end that process by hand and remove the file";
        read.map_err(|error| anyhow!("could not read {} ({error})\n{hint}", file.display()))
    }

    /// Writes the file so that a reader sees the old one or the new one, never half of one.
    pub fn write(&self, dir: &Path, service: Service) -> Result<()> {
        let (file, draft) = (Self::file(dir, service), dir.join(format!("{}.draft", service.name())));
        fs::write(&draft, serde_json::to_vec(self)?)
            .and_then(|()| fs::rename(&draft, &file))
            .with_context(|| format!("could not write {}", file.display()))
    }

    /// Forgets a service.
    pub fn remove(dir: &Path, service: Service) {
        let _ = fs::remove_file(Self::file(dir, service));
    }

    fn file(dir: &Path, service: Service) -> PathBuf {
        dir.join(format!("{}.json", service.name()))
    }

    /// Returns true while the process runs, or the container answers.
    pub fn is_running(&self, dir: &Path, service: Service) -> bool {
        match &self.runner {
            Runner::Native { .. } => native::is_alive(&service.log(dir)),
            Runner::Docker { .. } => service.answers(&self.address),
        }
    }

    /// Ends the service and forgets it.
    pub fn stop(&self, root: &Path, dir: &Path, service: Service, data: Data) -> Result<()> {
        let how = match &self.runner {
            Runner::Native { pid } => native::stop(*pid, &service.log(dir), native::STOP_LIMIT),
            Runner::Docker { project } => docker::stop(root, project, data).map(|()| "stopped")?,
        };
        eprintln!("{} {} {how}", service.name(), self.by());
        Self::remove(dir, service);
        Ok(())
    }

    /// Describes the owner.
    pub fn by(&self) -> String {
        match &self.runner {
            Runner::Native { pid } => format!("(pid {pid})"),
            Runner::Docker { project } => format!("in Docker (project {project})"),
        }
    }
}

/// Locks a folder: one `up` or `down` at a time.
pub fn lock(dir: &Path) -> Result<File> {
    fs::create_dir_all(dir).with_context(|| format!("could not create {}", dir.display()))?;
    let lock = File::create(dir.join("lock")).and_then(|file| file.lock().map(|()| file));
    lock.with_context(|| format!("could not lock {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_remembers_and_forgets_a_service() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let started = Started { address: "127.0.0.1:1".into(), runner: Runner::Native { pid: u32::MAX } };
        started.write(dir, Service::Cassandra).unwrap();
        assert_eq!(Started::read(dir, Service::Cassandra).unwrap(), Some(started));
        assert_eq!(Started::read(dir, Service::Emulator).unwrap(), None);
        assert!(super::super::down(dir, dir, Data::Kept).unwrap());
        assert_eq!(Started::read(dir, Service::Cassandra).unwrap(), None);
        fs::write(Started::file(dir, Service::Emulator), "{").unwrap();
        let error = Started::read(dir, Service::Emulator).unwrap_err();
        assert!(error.to_string().contains("hint: end that process"));
    }
}
