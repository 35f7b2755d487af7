//! `services up`, `down`, `status`: a Pub/Sub emulator and a Cassandra node on this host.

mod docker;
mod native;
mod state;

use anyhow::{Context, Error, Result, anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use state::{Runner, Started, lock};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A service that the project needs beside itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// Google's Pub/Sub emulator.
    Emulator,
    /// One Cassandra node.
    Cassandra,
}

impl Service {
    const ALL: [Self; 2] = [Self::Emulator, Self::Cassandra];

    /// Returns the name in options, files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Emulator => "emulator",
            Self::Cassandra => "cassandra",
        }
    }

    /// Returns the environment variable that gives its address to programs.
    fn variable(self) -> &'static str {
        match self {
            Self::Emulator => "PUBSUB_EMULATOR_HOST",
            Self::Cassandra => "CASSANDRA_CONTACT_POINTS",
        }
    }

    fn usual_port(self) -> u16 {
        match self {
            Self::Emulator => 8085,
            Self::Cassandra => 9042,
        }
    }

    /// Returns what its log says when it listens.
    fn ready_line(self) -> &'static str {
        match self {
            Self::Emulator => "Server started",
            Self::Cassandra => "Startup complete",
        }
    }

    fn log(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.log", self.name()))
    }

    /// Returns true if the service answers at `address`.
    fn answers(self, address: &str) -> bool {
        let mut streams = address.split(',').filter_map(|point| connect(point.trim(), self.usual_port()));
        match self {
            Self::Emulator => streams.any(|stream| says_ok(&stream)),
            Self::Cassandra => streams.next().is_some(),
        }
    }
}

/// Connects to `host:port` or `host` within two seconds.
fn connect(point: &str, usual_port: u16) -> Option<TcpStream> {
    let with_usual_port = |_| format!("{point}:{usual_port}").to_socket_addrs();
    let mut found = point.to_socket_addrs().or_else(with_usual_port).ok()?;
    found.find_map(|address| TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok())
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
    Up {
        #[command(flatten)]
        options: Options,
        /// Print nothing but the `export` lines: eval "$(cargo xtask services up --env)"
        #[arg(long)]
        env: bool,
    },
    /// End exactly what `up` started
    Down {
        #[command(flatten)]
        dir: Dir,
        /// Remove Cassandra's data, too
        #[arg(long)]
        wipe: bool,
    },
    /// Show what runs where, and how to start what does not
    Status(Dir),
}

/// The folder option of every command.
#[derive(Debug, Default, Clone, Args)]
pub struct Dir {
    /// Keep state, logs and data in DIR (default: target/services); each folder is an independent pair
    #[arg(long = "dir", value_name = "DIR")]
    given: Option<PathBuf>,
}

impl Dir {
    fn path(&self, root: &Path) -> Result<PathBuf> {
        let dir = self.given.clone().unwrap_or_else(|| root.join("target/services"));
        std::path::absolute(&dir).with_context(|| format!("--dir {} is no folder", dir.display()))
    }

    /// Returns the command `services VERB` for this folder as it can be typed.
    fn spell(&self, verb: &str) -> String {
        let dir = self.given.as_ref().map(|dir| format!(" --dir {}", shell_word(&dir.display().to_string())));
        format!("cargo xtask services {verb}{}", dir.unwrap_or_default())
    }
}

/// Options of a start.
#[derive(Debug, Default, Clone, Args)]
pub struct Options {
    #[command(flatten)]
    dir: Dir,
    /// Start one of the two
    #[arg(long, value_name = "NAME")]
    only: Option<Service>,
    /// Take free ports even when 8085 and 9042 are free
    #[arg(long)]
    free_ports: bool,
    /// When Cassandra writes its commit log to disk
    #[arg(long, value_enum, default_value_t, env = "ECOM_CASSANDRA_COMMITLOG_SYNC")]
    commitlog_sync: CommitlogSync,
}

/// The fate of Cassandra's data when it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// It stays for the next start.
    Kept,
    /// It is removed.
    Wiped,
}

/// Runs a command; returns the exit code.
pub fn run(root: &Path, command: Command) -> Result<u8> {
    let mut code = 0;
    match command {
        Command::Up { options, env } => {
            for (service, result) in up(root, &options)? {
                match result {
                    Ok(address) => println!("export {}={}", service.variable(), shell_word(&address)),
                    Err(error) => {
                        eprintln!("error: {error:#}");
                        code = 1;
                    }
                }
            }
            if code == 0 && !env {
                eprintln!("give that to your shell with: eval \"$({})\"", options.dir.spell("up --env"));
                eprintln!("end it with: {}", options.dir.spell("down"));
            }
        }
        Command::Down { dir, wipe } => {
            if !down(root, &dir.path(root)?, if wipe { Data::Wiped } else { Data::Kept })? {
                eprintln!("nothing was started here");
            }
        }
        Command::Status(dir) => {
            for service in Service::ALL {
                let (runs, text) = status(root, &dir, service)?;
                println!("{:<10} {text}", service.name());
                code = if runs { code } else { 3 };
            }
        }
    }
    Ok(code)
}

/// Brings up a pair in `dir` for `command`, which gets the addresses; returns what could not be started.
pub fn up_for(command: &mut std::process::Command, root: &Path, dir: &Path) -> Result<Vec<(Service, Error)>> {
    let dir = Dir { given: Some(dir.to_path_buf()) };
    let mut missing = Vec::new();
    for (service, result) in up(root, &Options { dir, free_ports: true, ..Options::default() })? {
        command.env_remove(service.variable());
        match result {
            Ok(address) => drop(command.env(service.variable(), address)),
            Err(error) => missing.push((service, error)),
        }
    }
    Ok(missing)
}

/// Brings the services up, both at once, and returns the address or the error of each one asked for.
/// What runs already is left as it is.
fn up(root: &Path, options: &Options) -> Result<Vec<(Service, Result<String>)>> {
    let dir = &options.dir.path(root)?;
    let _lock = lock(dir)?;
    let wanted = Service::ALL.into_iter().filter(|service| options.only.is_none_or(|only| only == *service));
    Ok(std::thread::scope(|scope| {
        let start = |service| (service, scope.spawn(move || bring_up(root, dir, options, service)));
        let threads: Vec<_> = wanted.map(start).collect();
        let results = threads.into_iter().map(|(service, thread)| {
            let result = thread.join().unwrap_or_else(|_| Err(anyhow!("the thread that starts it panicked")));
            (service, result)
        });
        results.collect()
    }))
}

/// Returns the address at which a service can be used, started if need be.
fn bring_up(root: &Path, dir: &Path, options: &Options, service: Service) -> Result<String> {
    let (name, variable) = (service.name(), service.variable());
    let started = Started::read(dir, service)?;
    if let Some(address) = given(service, started.as_ref()) {
        if service.answers(&address) {
            eprintln!("{name} at {address}: given by {variable}");
            return Ok(address);
        }
        bail!(
            "nothing answers at {variable} = {address}\nhint: start it, or have one started: unset {variable}"
        );
    }
    let (how, started) = match started {
        Some(started) if started.is_running(root, dir, service) => {
            if let Runner::Native { .. } = started.runner {
                native::await_ready(service, &service.log(dir), &started.address)?;
            }
            ("running already", started)
        }
        died => {
            // It comes back on the port that its clients know.
            let before = died.and_then(|died| died.address.rsplit_once(':')?.1.parse().ok());
            let usual = (!options.free_ports).then_some(service.usual_port());
            let ports: Vec<u16> = before.into_iter().chain(usual).collect();
            ("started now", start(root, dir, service, &ports, options.commitlog_sync)?)
        }
    };
    eprintln!("{name} at {}: {how} {}", started.address, started.by());
    Ok(started.address)
}

fn start(root: &Path, dir: &Path, service: Service, ports: &[u16], sync: CommitlogSync) -> Result<Started> {
    let native = match native::find(root, service) {
        Ok(program) => return native::start(&program, dir, ports, sync),
        Err(native) => native,
    };
    if let Err(docker) = docker::find() {
        bail!("cannot start {}: {docker}; {native}; or set {}", service.name(), service.variable());
    }
    docker::start(root, dir, service, ports)
}

/// Ends what `up` started in `dir`, and nothing else; returns whether there was anything.
pub fn down(root: &Path, dir: &Path, data: Data) -> Result<bool> {
    if !dir.exists() {
        return Ok(false);
    }
    let _lock = lock(dir)?;
    let mut any = false;
    for service in Service::ALL {
        let Some(started) = Started::read(dir, service)? else { continue };
        started.stop(root, dir, service, data)?;
        any = true;
        let variable = service.variable();
        if std::env::var(variable).is_ok_and(|value| value == started.address) {
            eprintln!("this shell still points at it: unset {variable}");
        }
    }
    let folder = native::data_folder(dir);
    if data == Data::Wiped && folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("could not remove {}", folder.display()))?;
    }
    Ok(any)
}

/// Returns true if the service runs, and its state in words.
fn status(root: &Path, dir: &Dir, service: Service) -> Result<(bool, String)> {
    let (variable, path) = (service.variable(), dir.path(root)?);
    let started = Started::read(&path, service)?;
    if let Some(address) = given(service, started.as_ref()) {
        return Ok(match service.answers(&address) {
            true => (true, format!("running at {address}, given by {variable}")),
            false => (
                false,
                format!("does not answer at {address}, given by {variable}; start it, or unset {variable}"),
            ),
        });
    }
    let hint = format!("start it: {}", dir.spell("up"));
    let Some(started) = started else { return Ok((false, format!("not running; {hint}"))) };
    let (by, address, log) = (started.by(), &started.address, service.log(&path));
    let log = log.display();
    Ok(match (started.is_running(root, &path, service), service.answers(address)) {
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

/// Quotes a value as one word of a shell.
fn shell_word(value: &str) -> String {
    if value.chars().all(|c| c.is_ascii_alphanumeric() || "/.:,_-[]".contains(c)) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exported_value_is_safe_to_evaluate() {
        assert_eq!(shell_word("127.0.0.1:9042,[::1]:9042"), "127.0.0.1:9042,[::1]:9042");
        assert_eq!(shell_word("a; rm -r b"), "'a; rm -r b'");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
    }

    #[test]
    fn a_contact_point_answers_when_something_listens() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(Service::Cassandra.answers(&format!("127.0.0.1:1, {address}")));
        assert!(!Service::Emulator.answers("127.0.0.1:1"));
        assert!(!Service::Cassandra.answers(""));
    }
}
