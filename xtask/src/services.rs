//! `services up`, `down`, `status`: a Pub/Sub emulator and a Cassandra node on this host.

mod docker;
mod native;
mod node;
mod ring;
mod state;

pub use ring::up_for as ring_for;

use anyhow::{Context, Error, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
pub use node::Node;
use state::{Runner, Started, lock};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

/// A service that the project needs beside itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// Google's Pub/Sub emulator.
    Emulator,
    /// One Cassandra node.
    Cassandra,
    /// One Cassandra node that encrypts and asks for client certificates and logins: the superuser is cassandra, its
    /// password cassandra.
    CassandraLogin,
    /// A node of three, by its number: the last part of its address, 127.0.0.1 to 127.0.0.3.
    #[value(skip)]
    Node(u8),
}

impl Service {
    const ALL: [Self; 3] = [Self::Emulator, Self::Cassandra, Self::CassandraLogin];

    /// Returns all services, those of a cluster of three nodes too.
    fn every() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().chain(ring::NODES)
    }

    /// Returns the name in options, files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Emulator => "emulator",
            Self::Cassandra => "cassandra",
            Self::CassandraLogin => "cassandra-login",
            Self::Node(1) => "cassandra-1",
            Self::Node(2) => "cassandra-2",
            Self::Node(_) => "cassandra-3",
        }
    }

    /// Returns the environment variable that gives its address to programs.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Emulator => "PUBSUB_EMULATOR_HOST",
            Self::Cassandra => "CASSANDRA_CONTACT_POINTS",
            Self::CassandraLogin => "CASSANDRA_LOGIN_CONTACT_POINTS",
            Self::Node(_) => ring::VARIABLE,
        }
    }

    /// Returns the variables that lead programs to it at this address.
    fn variables(self, dir: &Path, address: String) -> Vec<(&'static str, String)> {
        let mut variables = vec![(self.variable(), address)];
        if self == Self::CassandraLogin && std::env::var_os(self.variable()).is_none() {
            let [certificate, key] = native::CLIENT;
            for (variable, file) in [
                ("CASSANDRA_LOGIN_CA_FILE", native::CERTIFICATE),
                ("CASSANDRA_LOGIN_CERT_FILE", certificate),
                ("CASSANDRA_LOGIN_KEY_FILE", key),
            ] {
                let file = dir.join(self.name()).join(file);
                variables.push((variable, file.to_string_lossy().into_owned()));
            }
        }
        variables
    }

    /// Returns the address that it listens at.
    fn host(self) -> String {
        let number = if let Self::Node(number) = self { number } else { 1 };
        format!("127.0.0.{number}")
    }

    fn usual_port(self) -> u16 {
        match self {
            Self::Emulator => 8085,
            Self::Cassandra | Self::Node(_) => 9042,
            Self::CassandraLogin => 9043,
        }
    }

    fn log(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.log", self.name()))
    }

    /// Returns true if the service answers at `address`.
    fn answers(self, address: &str) -> bool {
        let mut streams = address.split(',').filter_map(|point| connect(point.trim(), self.usual_port()));
        streams.any(|stream| self != Self::Emulator || says_ok(&stream))
    }
}

/// Connects to `host:port` or `host` within two seconds.
fn connect(point: &str, usual_port: u16) -> Option<TcpStream> {
    let found = point.to_socket_addrs().or_else(|_| format!("{point}:{usual_port}").to_socket_addrs());
    found.ok()?.find_map(|address| TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok())
}

/// Returns true if `GET /` is answered with `Ok`, as an emulator does; it leaves the connection open.
fn says_ok(mut stream: &TcpStream) -> bool {
    let limit = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let asked = limit.and_then(|()| stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    asked.is_ok() && BufReader::new(stream).lines().map_while(Result::ok).any(|line| line == "Ok")
}

/// The moment at which Cassandra syncs its commit log to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum CommitlogSync {
    /// Every 10 seconds: `kill -9` may lose the last writes.
    #[default]
    Periodic,
    /// Before each acknowledgement: a killed node keeps every acknowledged write.
    Batch,
}

/// Commands on the services.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a Pub/Sub emulator and a Cassandra node; print the two variables to export
    Up(Options),
    /// End exactly what `up` started
    Down {
        /// Remove Cassandra's data, too
        #[arg(long)]
        wipe: bool,
    },
    /// Show what runs where, and how to start what does not
    Status,
}

/// Options of a start.
#[derive(Debug, Default, Clone, Args)]
pub struct Options {
    /// Start one of the two
    #[arg(long, value_name = "NAME")]
    only: Option<Service>,
    /// Take free ports even when 8085 and 9042 are free
    #[arg(long)]
    free_ports: bool,
    /// Start a second Cassandra node, with TLS, client certificates and logins (cassandra, password cassandra), too
    #[arg(long)]
    login: bool,
    /// Start this node of a cluster of three instead, 1 to 3; repeatable, 1 first on a new folder
    #[arg(long = "node", value_name = "N", value_parser = clap::value_parser!(u8).range(1..=3))]
    nodes: Vec<u8>,
    /// When Cassandra writes its commit log to disk
    #[arg(long, value_enum, default_value_t, env = "ECOM_CASSANDRA_COMMITLOG_SYNC")]
    commitlog_sync: CommitlogSync,
    /// Print nothing but the `export` lines: eval "$(cargo xtask services up --env)"
    #[arg(long)]
    env: bool,
}

/// The use of a Cassandra node that asks for logins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logins {
    Tested,
    Unused,
}

/// The fate of Cassandra's data when it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    Kept,
    Wiped,
}

/// Runs a command on the pair in a folder; returns the exit code.
pub fn run(root: &Path, given: Option<PathBuf>, command: Command) -> Result<u8> {
    let option = match &given {
        Some(dir) => format!(" --dir {}", shlex::try_quote(&dir.to_string_lossy())?),
        None => String::new(),
    };
    let dir = &std::path::absolute(given.unwrap_or_else(|| root.join("target/services")))?;
    let mut code = 0;
    match command {
        Command::Up(options) if !options.nodes.is_empty() => {
            let addresses = ring::up(root, dir, &options.nodes, CommitlogSync::Batch)?;
            println!("export {}={}", ring::VARIABLE, shlex::try_quote(&addresses)?);
        }
        Command::Up(options) => {
            for (service, result) in up(root, dir, &options)? {
                match result {
                    Ok(address) => {
                        for (variable, value) in service.variables(dir, address) {
                            println!("export {variable}={}", shlex::try_quote(&value)?);
                        }
                    }
                    Err(error) => {
                        eprintln!("error: {error:#}");
                        code = 1;
                    }
                }
            }
            if code == 0 && !options.env {
                eprintln!("give that to your shell with: eval \"$(cargo xtask services up --env{option})\"");
                eprintln!("end it with: cargo xtask services down{option}");
            }
        }
        Command::Down { wipe } => {
            if !down(root, dir, if wipe { Data::Wiped } else { Data::Kept })? {
                eprintln!("nothing was started here");
            }
        }
        Command::Status => {
            for service in Service::every() {
                let is_usual = matches!(service, Service::Emulator | Service::Cassandra);
                if !is_usual && Started::read(dir, service)?.is_none() {
                    continue;
                }
                let (runs, text) = status(dir, service, &option)?;
                println!("{:<11} {text}", service.name());
                code = if runs { code } else { 3 };
            }
        }
    }
    Ok(code)
}

/// Brings up a pair in `dir` for `command`, which gets the addresses; returns what could not be started.
pub fn up_for(
    command: &mut std::process::Command,
    root: &Path,
    dir: &Path,
    logins: Logins,
) -> Result<Vec<(Service, Error)>> {
    let mut missing = Vec::new();
    let options = Options { free_ports: true, login: logins == Logins::Tested, ..Options::default() };
    for (service, result) in up(root, dir, &options)? {
        command.env_remove(service.variable());
        match result {
            Ok(address) => drop(command.envs(service.variables(dir, address))),
            Err(error) => missing.push((service, error)),
        }
    }
    Ok(missing)
}

/// Looks for the emulator on this host, and fetches the jars of Cassandra.
pub fn fetch(root: &Path) -> Result<()> {
    [Service::Emulator, Service::Cassandra].into_iter().try_for_each(|it| native::find(root, it).map(drop))
}

/// Returns the command of a Cassandra node on the usual port, for a container that has this host's files.
pub fn node_command(root: &Path, home: &Path) -> Result<std::process::Command> {
    let program = native::find(root, Service::Cassandra)?;
    native::command(&program, home, Service::Cassandra.usual_port(), 7000, CommitlogSync::Periodic)
}

/// Brings the services up, both at once; returns the address or the error of each one asked for.
fn up(root: &Path, dir: &Path, options: &Options) -> Result<Vec<(Service, Result<String>)>> {
    let _lock = lock(dir)?;
    let wanted = Service::ALL.into_iter().filter(|service| match options.only {
        Some(only) => only == *service,
        None => options.login || *service != Service::CassandraLogin,
    });
    Ok(std::thread::scope(|scope| {
        let start = |service| (service, scope.spawn(move || bring_up(root, dir, options, service)));
        let threads: Vec<_> = wanted.map(start).collect();
        let join = |thread: ScopedJoinHandle<_>| thread.join().expect("a start does not panic");
        threads.into_iter().map(|(service, thread)| (service, join(thread))).collect()
    }))
}

/// Returns the address of a service, which is started unless it runs already.
fn bring_up(root: &Path, dir: &Path, options: &Options, service: Service) -> Result<String> {
    let (name, variable) = (service.name(), service.variable());
    let started = Started::read(dir, service)?;
    if let Some(address) = given(service, started.as_ref()) {
        let hint = format!("hint: start it, or have one started: unset {variable}");
        ensure!(service.answers(&address), "nothing answers at {variable} = {address}\n{hint}");
        eprintln!("{name} at {address}: given by {variable}");
        return Ok(address);
    }
    let (how, started) = match started {
        Some(started) if started.is_running(dir, service) => {
            native::await_ready(service, dir, &started)?;
            ("running already", started)
        }
        died => {
            // It comes back on the port that its clients know.
            let before = died.and_then(|died| died.address.rsplit_once(':')?.1.parse().ok());
            let usual = (!options.free_ports).then_some(service.usual_port());
            let ports: Vec<u16> = before.into_iter().chain(usual).collect();
            let started = match native::find(root, service) {
                Ok(program) => native::start(&program, dir, &ports, options.commitlog_sync)?,
                Err(native) => {
                    let docker = "no Docker engine answers `docker compose ls`";
                    ensure!(docker::found(), "cannot start {name}: {docker}; {native}; or set {variable}");
                    docker::start(root, dir, service, &ports)?
                }
            };
            ("started now", started)
        }
    };
    eprintln!("{name} at {}: {how} {}", started.address, started.by());
    Ok(started.address)
}

/// Ends what `up` started in `dir`, and nothing else; returns whether there was anything.
pub fn down(root: &Path, dir: &Path, data: Data) -> Result<bool> {
    if !dir.exists() {
        return Ok(false);
    }
    let _lock = lock(dir)?;
    let mut any = false;
    for service in Service::every() {
        let Some(started) = Started::read(dir, service)? else { continue };
        started.stop(root, dir, service, data)?;
        any = true;
        let variable = service.variable();
        if std::env::var(variable).is_ok_and(|value| value == started.address) {
            eprintln!("this shell still points at it: unset {variable}");
        }
    }
    for folder in Service::every().map(|service| dir.join(service.name())) {
        if data == Data::Wiped && folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("could not remove {}", folder.display()))?;
        }
    }
    Ok(any)
}

/// Returns true if the service runs, and its state in words.
fn status(dir: &Path, service: Service, option: &str) -> Result<(bool, String)> {
    let hint = format!("start it: cargo xtask services up{option}");
    let started = Started::read(dir, service)?;
    if let Some(address) = given(service, started.as_ref()) {
        let by = format!("at {address}, given by {}", service.variable());
        if service.answers(&address) {
            return Ok((true, format!("running {by}")));
        }
        return Ok((false, format!("does not answer {by}; start it, or unset {}", service.variable())));
    }
    let Some(started) = started else { return Ok((false, format!("not running; {hint}"))) };
    let (by, address, log) = (started.by(), &started.address, service.log(dir));
    let log = log.display();
    Ok(match (started.is_running(dir, service), service.answers(address)) {
        (true, true) => (true, format!("running at {address}, started by `services up` {by}, log {log}")),
        (true, false) => (false, format!("alive {by} but not answering at {address}, log {log}")),
        (false, _) => (false, format!("died {by}, log {log}; {hint}")),
    })
}

/// Returns the address in the environment, unless it is the one that was started here: a shell that
/// evaluated `up --env` still owns its services.
fn given(service: Service, started: Option<&Started>) -> Option<String> {
    let address = std::env::var(service.variable()).ok().filter(|value| !value.trim().is_empty())?;
    started.is_none_or(|started| started.address != address).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_point_answers_when_something_listens() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(Service::Cassandra.answers(&format!("127.0.0.1:1, {address}")));
        assert!(!Service::Emulator.answers("127.0.0.1:1"));
        assert!(!Service::Cassandra.answers(""));
    }
}
