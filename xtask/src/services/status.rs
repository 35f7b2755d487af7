//! `services status`: what runs where, by whom, and how to start what does not.

use super::endpoint::given;
use super::state::{self, Record, Runner};
use super::{Service, is_running, spelled};
use crate::failure::{Outcome, print};
use std::path::Path;

/// Prints a line per service. The exit code is 3 unless all can be used.
pub fn status(root: &Path, dir: &Path) -> Outcome<u8> {
    let mut code = 0;
    for service in Service::ALL {
        let record = state::read(dir, service)?;
        let (runs, text) = describe(root, dir, service, record.as_ref());
        print(&format!("{:<10} {text}", service.name()));
        if !runs {
            code = 3;
        }
    }
    Ok(code)
}

fn describe(root: &Path, dir: &Path, service: Service, record: Option<&Record>) -> (bool, String) {
    let start = format!("start it: {}", spelled(root, dir, "up"));
    if let Some(address) = given(service, record) {
        let variable = service.variable();
        return if service.answers(&address) {
            (true, format!("running at {address}, given by {variable}"))
        } else {
            (
                false,
                format!("does not answer at {address}, given by {variable}; start it, or unset {variable}"),
            )
        };
    }
    let Some(record) = record else {
        return (false, format!("not running; {start}"));
    };
    let running = is_running(root, service, record);
    match &record.runner {
        Runner::Native { pid, .. } => {
            let log = service.log(dir);
            let log = log.display();
            if !running {
                (false, format!("died (pid {pid} is gone, its log is {log}); {start}"))
            } else if service.answers(&record.address) {
                (
                    true,
                    format!("running at {}, started by `services up` (pid {pid}), log {log}", record.address),
                )
            } else {
                (false, format!("alive (pid {pid}) but not answering at {}, log {log}", record.address))
            }
        }
        Runner::Docker { project } if running => (
            true,
            format!("running at {}, started by `services up` in Docker (project {project})", record.address),
        ),
        Runner::Docker { project } => {
            (false, format!("its container (project {project}) does not run; {start}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_process_that_is_gone_reads_as_died() {
        let folder = super::super::testing::Folder::new("died");
        let record = Record {
            address: "127.0.0.1:1".into(),
            runner: Runner::Native { pid: u32::MAX, marker: "nobody".into() },
        };
        let (runs, text) = describe(folder.path(), folder.path(), Service::Emulator, Some(&record));
        if given(Service::Emulator, Some(&record)).is_none() {
            assert!(!runs);
            assert!(text.starts_with("died (pid 4294967295 is gone"), "{text}");
        }
    }
}
