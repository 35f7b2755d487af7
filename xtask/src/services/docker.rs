//! Services in a Docker engine, by the project's compose file.

use super::{Data, Runner, Service, Started, native};
use anyhow::{Context, Result, bail, ensure};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::{Command, Stdio};

/// Returns true if an engine answers and has compose: a `docker` client alone starts nothing.
pub fn found() -> bool {
    Command::new("docker").args(["compose", "ls"]).output().is_ok_and(|output| output.status.success())
}

/// Starts one service and waits until it is healthy.
pub fn start(root: &Path, dir: &Path, service: Service, ports: &[u16]) -> Result<Started> {
    let [port, _] = native::free_ports(ports)?;
    // A project per folder and service: two checkouts or test runs share no container.
    let mut hasher = DefaultHasher::new();
    dir.hash(&mut hasher);
    let project = format!("ecom-{}-{:016x}", service.name(), hasher.finish());
    let mut command = compose(root, &project);
    let (container, variable) = match service {
        Service::Emulator => ("pubsub-emulator", "PUBSUB_EMULATOR_PORT"),
        Service::Cassandra => ("cassandra", "CASSANDRA_PORT"),
        Service::CassandraLogin => bail!("a node that asks for logins is not in the compose file"),
        Service::Node(_) => bail!("the compose file has one node"),
    };
    command.env(variable, port.to_string()).args(["up", "--detach", "--wait", container]);
    let started = Started { address: format!("127.0.0.1:{port}"), runner: Runner::Docker { project } };
    started.write(dir, service)?;
    eprintln!("starting {} in Docker (the first time, its image is fetched)", service.name());
    run(&mut command)?;
    Ok(started)
}

/// Stops the service and removes its container.
pub fn stop(root: &Path, project: &str, data: Data) -> Result<()> {
    run(compose(root, project).arg("down").args((data == Data::Wiped).then_some("--volumes")))
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
    ensure!(status.success(), "docker compose failed ({status})");
    Ok(())
}
