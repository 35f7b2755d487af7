//! Services from a Docker engine, by the project's compose file.

use super::Service;
use super::state::{Record, Runner};
use crate::failure::{Attempt, Failure, Outcome, say};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

const FILE: &str = "docker-compose-cassandra.yml";

/// Whether an engine answers and compose is there. A `docker` client without an engine is nothing.
pub fn find() -> Outcome<()> {
    if !succeeds(Command::new("docker").arg("info")) {
        return Err(Failure::new("no Docker engine answers `docker info`").hint("start one"));
    }
    compose().map(drop)
}

/// Starts one service and waits until it is healthy.
pub fn start(root: &Path, dir: &Path, service: Service, preferred: &[u16]) -> Outcome<Record> {
    // Two `compose up` of one project at once trip over the network they both want to create.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let [port] = super::port::choose([preferred])?;
    let project = project_name(dir);
    let record =
        Record { address: format!("127.0.0.1:{port}"), runner: Runner::Docker { project: project.clone() } };
    super::state::write(dir, service, &record)?;
    say(&format!("starting {} in Docker (the first time, its image is fetched)", service.name()));
    let mut command = project_command(root, &project)?;
    command.env(port_variable(service), port.to_string()).args([
        "up",
        "--detach",
        "--wait",
        container(service),
    ]);
    run(&mut command, &format!("start {} in Docker", service.name()))?;
    Ok(record)
}

/// Whether a service's container runs.
pub fn is_running(root: &Path, project: &str, service: Service) -> bool {
    let Ok(mut command) = project_command(root, project) else {
        return false;
    };
    command.args(["ps", "--quiet", "--status", "running", container(service)]).stdin(Stdio::null());
    command.output().is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
}

/// Stops the whole project, with its volumes if `wipe`.
pub fn stop(root: &Path, project: &str, wipe: bool) -> Outcome<()> {
    let mut command = project_command(root, project)?;
    command.arg("down");
    if wipe {
        command.arg("--volumes");
    }
    run(&mut command, &format!("stop the compose project {project}"))
}

/// `docker compose`, or the older `docker-compose`.
fn compose() -> Outcome<Command> {
    let mut plugin = Command::new("docker");
    plugin.arg("compose");
    if succeeds(Command::new("docker").args(["compose", "version"])) {
        return Ok(plugin);
    }
    if succeeds(Command::new("docker-compose").arg("version")) {
        return Ok(Command::new("docker-compose"));
    }
    Err(Failure::new("found a Docker engine, but no `docker compose`").hint("install the compose plugin"))
}

fn project_command(root: &Path, project: &str) -> Outcome<Command> {
    let mut command = compose()?;
    command
        .arg("--project-name")
        .arg(project)
        .arg("--file")
        .arg(root.join(FILE))
        .args(["--profile", "emulator"]);
    Ok(command)
}

fn run(command: &mut Command, what: &str) -> Outcome<()> {
    // Compose talks on stderr; whatever it prints on stdout is talk as well, not our data.
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status().attempt(what)?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("could not {what} ({status})"))) }
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn container(service: Service) -> &'static str {
    match service {
        Service::Emulator => "pubsub-emulator",
        Service::Cassandra => "cassandra",
    }
}

fn port_variable(service: Service) -> &'static str {
    match service {
        Service::Emulator => "PUBSUB_EMULATOR_PORT",
        Service::Cassandra => "CASSANDRA_PORT",
    }
}

/// A project per state folder, so that two checkouts or a test run do not share containers.
fn project_name(dir: &Path) -> String {
    let hash = dir.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("ecom-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_folder_has_a_project_of_its_own() {
        assert_eq!(project_name(Path::new("/a")), project_name(Path::new("/a")));
        assert_ne!(project_name(Path::new("/a")), project_name(Path::new("/b")));
        assert_eq!(project_name(Path::new("/a")).len(), "ecom-".len() + 16);
    }
}
