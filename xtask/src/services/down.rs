//! `services down`: ends what `up` started.

use super::state::{self, Record, Runner};
use super::{Service, cassandra, docker, lock};
use crate::failure::{Attempt, Outcome, say};
use crate::process::{self, End};
use std::path::Path;

/// Ends what `up` started in `dir`, and nothing else. Says whether there was anything.
pub fn down(root: &Path, dir: &Path, wipe: bool) -> Outcome<bool> {
    if !dir.exists() {
        return Ok(false);
    }
    let _lock = lock(dir)?;
    let mut stopped = Vec::new();
    for service in Service::ALL {
        let Some(record) = state::read(dir, service)? else {
            continue;
        };
        match &record.runner {
            Runner::Native { .. } => stop(dir, service, &record),
            Runner::Docker { project } => {
                docker::stop(root, project, wipe)?;
                state::remove(dir, service);
                say(&format!("{} stopped", service.name()));
            }
        }
        stopped.push((service, record.address));
    }
    let any = !stopped.is_empty();
    if wipe {
        let data = cassandra::data_folder(dir);
        if data.exists() {
            std::fs::remove_dir_all(&data).attempt(format_args!("remove {}", data.display()))?;
        }
    }
    for (service, address) in stopped {
        if std::env::var(service.variable()).is_ok_and(|value| value == address) {
            say(&format!("this shell still points at it: unset {}", service.variable()));
        }
    }
    Ok(any)
}

/// Ends a process and forgets it.
pub fn stop(dir: &Path, service: Service, record: &Record) {
    if let Runner::Native { pid, marker } = &record.runner {
        let how = match process::stop(*pid, marker, service.grace()) {
            End::AlreadyGone => "was not running any more",
            End::Asked => "stopped",
            End::Killed => "did not end when asked, killed",
        };
        say(&format!("{} (pid {pid}) {how}", service.name()));
    }
    state::remove(dir, service);
}
