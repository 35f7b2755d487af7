//! What was started: one small `key=value` file per service, so that `down` ends exactly that.

use super::Service;
use crate::failure::{Attempt, Failure, Outcome};
use std::path::{Path, PathBuf};

/// Who runs a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runner {
    /// A process of this host, known by its pid and by a text its command line contains.
    Native {
        /// The process id.
        pid: u32,
        /// What the command line must contain for the pid to be still ours.
        marker: String,
    },
    /// A container of a compose project.
    Docker {
        /// The compose project's name.
        project: String,
    },
}

/// One started service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `host:port` for clients.
    pub address: String,
    /// Who runs it.
    pub runner: Runner,
}

impl Record {
    /// The record as its file's text.
    pub fn to_text(&self) -> String {
        let runner = match &self.runner {
            Runner::Native { pid, marker } => {
                format!("runner=native\npid={pid}\nmarker={marker}\n")
            }
            Runner::Docker { project } => format!("runner=docker\nproject={project}\n"),
        };
        format!("address={}\n{runner}", self.address)
    }

    /// Reads a file's text; says which key is missing or unusable.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value.to_owned())
                .ok_or_else(|| format!("no {key}"))
        };
        let runner = match value("runner")?.as_str() {
            "native" => Runner::Native {
                pid: value("pid")?.parse().map_err(|_| "pid is not a number".to_owned())?,
                marker: value("marker")?,
            },
            "docker" => Runner::Docker { project: value("project")? },
            other => return Err(format!("unknown runner {other}")),
        };
        Ok(Self { address: value("address")?, runner })
    }

    /// The port clients use.
    pub fn port(&self) -> Option<u16> {
        self.address.rsplit_once(':')?.1.parse().ok()
    }
}

fn file(dir: &Path, service: Service) -> PathBuf {
    dir.join(format!("{}.state", service.name()))
}

/// What `dir` says about a service; `None` when it was never started there, or was stopped.
pub fn read(dir: &Path, service: Service) -> Outcome<Option<Record>> {
    let file = file(dir, service);
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::new(format!("could not read {} ({error})", file.display())));
        }
    };
    Record::parse(&text).map(Some).map_err(|cause| {
        Failure::new(format!("could not understand {} ({cause})", file.display()))
            .hint("end that process by hand and remove the file")
    })
}

/// Writes the record so that a reader sees the old file or the new one, never half of one.
pub fn write(dir: &Path, service: Service, record: &Record) -> Outcome<()> {
    let file = file(dir, service);
    let draft = file.with_extension("state.draft");
    std::fs::write(&draft, record.to_text())
        .and_then(|()| std::fs::rename(&draft, &file))
        .attempt(format_args!("write {}", file.display()))
}

/// Forgets a service.
pub fn remove(dir: &Path, service: Service) {
    let _ = std::fs::remove_file(file(dir, service));
}

#[cfg(test)]
mod tests {
    use super::super::testing::Folder;
    use super::*;

    fn native() -> Record {
        Record {
            address: "127.0.0.1:9042".into(),
            runner: Runner::Native { pid: 7, marker: "-Dmarker=/a b/c=d".into() },
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let docker =
            Record { address: "127.0.0.1:8085".into(), runner: Runner::Docker { project: "ecom-1".into() } };
        for record in [native(), docker] {
            assert_eq!(Record::parse(&record.to_text()), Ok(record));
        }
    }

    #[test]
    fn a_damaged_record_says_what_is_wrong() {
        assert_eq!(Record::parse(""), Err("no runner".into()));
        assert_eq!(Record::parse("runner=native\npid=x\n"), Err("pid is not a number".into()));
        assert_eq!(Record::parse("runner=native\npid=1\n"), Err("no marker".into()));
        assert_eq!(Record::parse("runner=cloud\n"), Err("unknown runner cloud".into()));
    }

    #[test]
    fn the_port_is_what_follows_the_last_colon() {
        assert_eq!(native().port(), Some(9042));
        assert_eq!(Record { address: "nowhere".into(), ..native() }.port(), None);
    }

    #[test]
    fn a_folder_remembers_and_forgets_a_service() {
        let folder = Folder::new("state");
        assert_eq!(read(folder.path(), Service::Cassandra), Ok(None));
        write(folder.path(), Service::Cassandra, &native()).unwrap();
        assert_eq!(read(folder.path(), Service::Cassandra), Ok(Some(native())));
        assert_eq!(read(folder.path(), Service::Emulator), Ok(None));
        remove(folder.path(), Service::Cassandra);
        assert_eq!(read(folder.path(), Service::Cassandra), Ok(None));
    }
}
