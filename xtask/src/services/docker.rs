//! Services in a Docker engine, by the project's compose file.

use super::{Data, Runner, Service, Started, native};
use anyhow::{Context, Result, bail};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Checks that an engine answers and has compose: a `docker` client alone starts nothing.
pub fn find() -> Result<()> {
    if !succeeds(Command::new("docker").arg("info")) {
        bail!("no Docker engine answers `docker info`");
    }
    if !succeeds(Command::new("docker").args(["compose", "version"])) {
        bail!("the Docker engine has no `docker compose`");
    }
    Ok(())
}

/// Starts one service and waits until it is healthy.
pub fn start(root: &Path, dir: &Path, service: Service, ports: &[u16]) -> Result<Started> {
    // Two `compose up` of one project at once both try to create its network.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let [port] = native::free_ports([ports])?;
    // One project per folder, so that two checkouts or test runs share no container.
    let mut hasher = DefaultHasher::new();
    dir.hash(&mut hasher);
    let project = format!("ecom-{:016x}", hasher.finish());
    let started =
        Started { address: format!("127.0.0.1:{port}"), runner: Runner::Docker { project: project.clone() } };
    started.write(dir, service)?;
    let (container, variable) = container(service);
    eprintln!("starting {} in Docker (the first time, its image is fetched)", service.name());
    let mut command = compose(root, &project);
    run(command.env(variable, port.to_string()).args(["up", "--detach", "--wait", container]))?;
    Ok(started)
}

/// Returns true while the service's container runs.
pub fn is_running(root: &Path, project: &str, service: Service) -> bool {
    let mut command = compose(root, project);
    command.args(["ps", "--quiet", "--status", "running", container(service).0]);
    command.output().is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
}

/// Stops the whole project.
pub fn stop(root: &Path, project: &str, data: Data) -> Result<()> {
    let volumes = (data == Data::Wiped).then_some("--volumes");
    run(compose(root, project).arg("down").args(volumes))
}

fn compose(root: &Path, project: &str) -> Command {
    let mut command = Command::new("docker");
    command.args(["compose", "--project-name", project, "--profile", "emulator", "--file"]);
    command.arg(root.join("docker-compose-cassandra.yml")).stdin(Stdio::null());
    command
}

/// Runs a command whose standard output is for people, not data.
fn run(command: &mut Command) -> Result<()> {
    let status = command.stdout(std::io::stderr()).status().context("could not run docker")?;
    if !status.success() {
        bail!("docker compose failed ({status})");
    }
    Ok(())
}

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Returns the service's name in the compose file, and the variable of its port.
fn container(service: Service) -> (&'static str, &'static str) {
    match service {
        Service::Emulator => ("pubsub-emulator", "PUBSUB_EMULATOR_PORT"),
        Service::Cassandra => ("cassandra", "CASSANDRA_PORT"),
    }
}
