//! `services up`, `down`, `status`: a Pub/Sub emulator and a Cassandra node on this host.

mod docker;
mod native;
mod state;

use crate::process::{self, INTERVAL};
use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use state::{Runner, Started, lock};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A service that the project needs beside itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// Google's Pub/Sub emulator.
    Emulator,
    /// One Cassandra node.
    Cassandra,
}

impl Service {
    /// Both services.
    pub const ALL: [Self; 2] = [Self::Emulator, Self::Cassandra];

    /// Returns the name in options, files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Emulator => "emulator",
            Self::Cassandra => "cassandra",
        }
    }

    /// Returns the environment variable that gives its address to programs.
    pub fn variable(self) -> &'static str {
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

    /// Returns the limits of a start and of a stop.
    fn patience(self) -> (Duration, Duration) {
        let (start, stop) = match self {
            Self::Emulator => (60, 5),
            Self::Cassandra => (180, 30),
        };
        (Duration::from_secs(start), Duration::from_secs(stop))
    }

    fn log(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.log", self.name()))
    }

    /// Returns true if the service answers at `address`.
    fn answers(self, address: &str) -> bool {
        match self {
            Self::Emulator => native::emulator_answers(address),
            Self::Cassandra => {
                address.split(',').any(|point| connect(point.trim(), self.usual_port()).is_some())
            }
        }
    }
}

/// Connects to `host:port` or `host` within two seconds.
fn connect(point: &str, usual_port: u16) -> Option<TcpStream> {
    let has_port = point.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let target = if has_port { point.to_owned() } else { format!("{point}:{usual_port}") };
    let mut found = target.to_socket_addrs().ok()?;
    found.find_map(|address| TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok())
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

impl Options {
    /// Returns the options of a private pair in `dir`.
    pub fn private(dir: &Path) -> Self {
        Self { dir: Dir { given: Some(dir.to_path_buf()) }, free_ports: true, ..Self::default() }
    }
}

/// The fate of Cassandra's data when it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// It stays for the next start.
    Kept,
    /// It is removed.
    Wiped,
}

/// A service that can be used.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The service.
    pub service: Service,
    /// `host:port`, or a list of them for Cassandra.
    pub address: String,
    how: String,
}

/// Runs a command; returns the exit code.
pub fn run(root: &Path, command: Command) -> Result<u8> {
    match command {
        Command::Up { options, env } => {
            let mut failed = false;
            for result in up(root, &options)? {
                match result {
                    Ok(endpoint) => {
                        println!("export {}={}", endpoint.service.variable(), shell_word(&endpoint.address))
                    }
                    Err((_, error)) => {
                        eprintln!("error: {error:#}");
                        failed = true;
                    }
                }
            }
            if !failed && !env {
                eprintln!("give that to your shell with: eval \"$({})\"", options.dir.spell("up --env"));
                eprintln!("end it with: {}", options.dir.spell("down"));
            }
            Ok(u8::from(failed))
        }
        Command::Down { dir, wipe } => {
            if !down(root, &dir.path(root)?, if wipe { Data::Wiped } else { Data::Kept })? {
                eprintln!("nothing was started here");
            }
            Ok(0)
        }
        Command::Status(dir) => {
            let mut code = 0;
            for service in Service::ALL {
                let (runs, text) = status(root, &dir, service)?;
                println!("{:<10} {text}", service.name());
                code = if runs { code } else { 3 };
            }
            Ok(code)
        }
    }
}

/// Brings the services up, both at once, and returns one result per service asked for. What runs
/// already is left as it is.
pub fn up(root: &Path, options: &Options) -> Result<Vec<Result<Endpoint, (Service, anyhow::Error)>>> {
    let dir = options.dir.path(root)?;
    let _lock = lock(&dir)?;
    let wanted = Service::ALL.into_iter().filter(|service| options.only.is_none_or(|only| only == *service));
    Ok(std::thread::scope(|scope| {
        let start = |service| {
            let dir = &dir;
            (service, scope.spawn(move || bring_up(root, dir, options, service)))
        };
        let threads: Vec<_> = wanted.map(start).collect();
        let results = threads.into_iter().map(|(service, thread)| {
            let result = thread.join().unwrap_or_else(|_| Err(anyhow!("the thread that starts it panicked")));
            if let Ok(Endpoint { address, how, .. }) = &result {
                eprintln!("{} at {address}: {how}", service.name());
            }
            result.map_err(|error| (service, error))
        });
        results.collect()
    }))
}

fn bring_up(root: &Path, dir: &Path, options: &Options, service: Service) -> Result<Endpoint> {
    let started = Started::read(dir, service)?;
    let variable = service.variable();
    if let Some(address) = given(service, started.as_ref()) {
        if service.answers(&address) {
            return Ok(Endpoint { service, address, how: format!("given by {variable}") });
        }
        bail!(
            "nothing answers at {variable} = {address}\nhint: start it, or have one started: unset {variable}"
        );
    }
    if let Some(started) = &started
        && started.is_running(root, service)
    {
        await_ready(service, dir, started)?;
        let how = format!("running already {}", started.by());
        return Ok(Endpoint { service, address: started.address.clone(), how });
    }
    // A service that died comes back on the port that its clients know.
    let before = started.and_then(|started| started.address.rsplit_once(':')?.1.parse().ok());
    let usual = (!options.free_ports).then_some(service.usual_port());
    let ports: Vec<u16> = before.into_iter().chain(usual).collect();
    let started = match native::find(root, service) {
        Ok(program) => native::start(&program, dir, &ports, options.commitlog_sync)?,
        Err(native) => match docker::find() {
            Ok(()) => docker::start(root, dir, service, &ports)?,
            Err(docker) => bail!("cannot start {}: {docker}; {native}; or set {variable}", service.name()),
        },
    };
    Ok(Endpoint { service, how: format!("started now {}", started.by()), address: started.address })
}

/// Waits until a native service can be used; fails when it dies or takes too long.
fn await_ready(service: Service, dir: &Path, started: &Started) -> Result<()> {
    let Runner::Native { pid, marker } = &started.runner else { return Ok(()) };
    let (log, name) = (service.log(dir), service.name());
    let (begin, (limit, _)) = (Instant::now(), service.patience());
    loop {
        if !process::is_alive(*pid, marker) {
            bail!("{name} died while starting\nhint: its log is {}", log.display());
        }
        if native::log_says_ready(service, &log) && service.answers(&started.address) {
            return Ok(());
        }
        if begin.elapsed() > limit {
            bail!("{name} was not ready after {} s\nhint: its log is {}", limit.as_secs(), log.display());
        }
        std::thread::sleep(INTERVAL);
    }
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
        stop(root, dir, service, &started, data)?;
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

fn stop(root: &Path, dir: &Path, service: Service, started: &Started, data: Data) -> Result<()> {
    let how = match &started.runner {
        Runner::Native { pid, marker } => process::stop(*pid, marker, service.patience().1),
        Runner::Docker { project } => docker::stop(root, project, data).map(|()| "stopped")?,
    };
    eprintln!("{} {} {how}", service.name(), started.by());
    Started::remove(dir, service);
    Ok(())
}

fn status(root: &Path, dir: &Dir, service: Service) -> Result<(bool, String)> {
    let (variable, path) = (service.variable(), dir.path(root)?);
    let (log, hint) = (service.log(&path), format!("start it: {}", dir.spell("up")));
    let log = log.display();
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
    let Some(started) = started else { return Ok((false, format!("not running; {hint}"))) };
    let (by, address) = (started.by(), &started.address);
    Ok(match (started.is_running(root, service), service.answers(address)) {
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
